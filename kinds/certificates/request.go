package certificates

import (
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	certificates "k8s.io/api/certificates/v1"
	old "k8s.io/api/certificates/v1beta1" // whose descriptions the columns have
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/object"
)

// CertificateSigningRequest is certificates.k8s.io/v1 CertificateSigningRequest: somebody wants a certificate for their key. The
// spec never changes; /approval says whether they shall have it, and /status is the signer's.
var CertificateSigningRequest = kinds.Def[certificates.CertificateSigningRequest, *certificates.CertificateSigningRequest]{
	Path:    "certificates.k8s.io/v1/certificatesigningrequests",
	Cluster: true,
	Short:   []string{"csr"},
	Status:  true,
	Name:    func(string, bool) []string { return nil },
	Subs: []kinds.Sub{{
		Name: "approval", GVK: "certificates.k8s.io/v1/CertificateSigningRequest", Verbs: []string{"get", "patch", "update"}, Status: true,
		Prepare: func(obj, old object.Object) { prepareApproval(obj.(*request), old.(*request)) },
		Validate: func(obj, old object.Object) field.ErrorList {
			return validateChange(obj.(*request), old.(*request), mayApprove)
		},
	}},
	Asked:          askedBy,
	Prepare:        prepare,
	PrepareStatus:  prepareStatus,
	ValidateCreate: func(r *request) field.ErrorList { return validate(r, nil) },
	ValidateUpdate: func(r, old *request) field.ErrorList { return validateChange(r, old, 0) },
	ValidateStatus: func(r, old *request) field.ErrorList { return validateChange(r, old, maySign) },
	Fields:         func(r *request) map[string]string { return map[string]string{"spec.signerName": r.Spec.SignerName} },
	Columns:        columns(),
	Row:            row,
}

type (
	request   = certificates.CertificateSigningRequest
	condition = certificates.CertificateSigningRequestCondition
)

// askedBy writes down who wants the certificate: whoever approves it decides by that.
func askedBy(r *request, u authentication.UserInfo) {
	r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = u.Username, u.UID, u.Groups, nil
	for k, v := range u.Extra {
		if r.Spec.Extra == nil {
			r.Spec.Extra = map[string]certificates.ExtraValue{}
		}
		r.Spec.Extra[k] = certificates.ExtraValue(v)
	}
}

func prepare(r, old *request) {
	if old != nil {
		r.Spec = old.Spec
	}
}

// prepareStatus keeps what approvers have said, unless there is more or less of it than before, which validation refuses.
func prepareStatus(r, old *request) {
	for _, t := range verdicts {
		was, now := indexes(old, t), indexes(r, t)
		if len(was) != len(now) {
			continue
		}
		for i := range was {
			r.Status.Conditions[now[i]] = old.Status.Conditions[was[i]]
		}
	}
	stamp(r, old)
}

// prepareApproval keeps everything of the status but its conditions.
func prepareApproval(r, old *request) {
	stamp(r, old)
	said := r.Status.Conditions
	r.Status = old.Status
	r.Status.Conditions = said
}

func indexes(r *request, t certificates.RequestConditionType) (at []int) {
	for i := range r.Status.Conditions {
		if r.Status.Conditions[i].Type == t {
			at = append(at, i)
		}
	}
	return at
}

// stamp fills in the times that are missing.
func stamp(r, old *request) {
	now := metav1.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, o := range old.Status.Conditions {
			if o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
				c.LastTransitionTime = o.LastTransitionTime
				break
			}
		}
	}
}

func columns() []kinds.Column {
	cols := kinds.Columns("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition")
	spec := old.CertificateSigningRequestSpec{}.SwaggerDoc()
	cols[2].Description = spec["signerName"]
	cols[3].Description = spec["request"]
	cols[4].Description = spec["expirationSeconds"]
	cols[5].Description = old.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]
	return cols
}

func row(r *request, now time.Time) []any {
	signer, wanted := r.Spec.SignerName, "<none>"
	if signer == "" {
		signer = "<none>"
	}
	if s := r.Spec.ExpirationSeconds; s != nil {
		wanted = duration.HumanDuration(time.Duration(*s) * time.Second)
	}
	return []any{r.Name, kinds.Age(r.CreationTimestamp, now), signer, r.Spec.Username, wanted, state(r)}
}

// state is what has become of the request, in words.
func state(r *request) string {
	has := func(t certificates.RequestConditionType) bool { return len(indexes(r, t)) > 0 }
	words := []string{"Pending"}
	switch {
	case has(certificates.CertificateDenied):
		words[0] = "Denied"
	case has(certificates.CertificateApproved):
		words[0] = "Approved"
	}
	if has(certificates.CertificateFailed) {
		words = append(words, "Failed")
	}
	if len(r.Status.Certificate) > 0 {
		words = append(words, "Issued")
	}
	return strings.Join(words, ",")
}
