package kinds

import (
	"time"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"proa.dev/object"
)

// SubdomainName checks a name by RFC 1123's rule for subdomains; LabelName by that for labels.
// They are the choices for Def.Name.
var (
	SubdomainName = validation.NameIsDNSSubdomain
	LabelName     = validation.NameIsDNSLabel
	Label1035Name = validation.NameIsDNS1035Label
)

// Column heads that recur.
var (
	NameColumn = Column{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]}
	AgeColumn  = Column{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]}
	NameAndAge = []Column{NameColumn, AgeColumn}
)

// Age is how kubectl prints the time since t: "5m", "3d12h"; "<unknown>" for the zero time.
func Age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func rowOfNameAndAge(o object.Object, now time.Time) []any {
	return []any{o.GetName(), Age(o.GetCreationTimestamp(), now)}
}
