package networking

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

// Ingress is networking.k8s.io/v1 Ingress: how HTTP from outside reaches Services. Whoever owns its class acts on it.
var Ingress = kinds.Def[networking.Ingress, *networking.Ingress]{
	Path:       "networking.k8s.io/v1/ingresses",
	Short:      []string{"ing"},
	Storage:    "ingress",
	Generation: true,
	Status:     true,
	Validate:   validateIngress, ValidateCreate: validateNewIngress, ValidateStatus: validateIngressStatus, Warn: warnIngress,
	Columns: kinds.Columns("Name", "Class|The name of the IngressClass resource that should be used for additional configuration",
		"Hosts|Hosts that incoming requests are matched against before the ingress rule",
		"Address|Address is a list containing ingress points for the load-balancer",
		"Ports|Ports of TLS configurations that open", "Age"),
	Row: func(i *networking.Ingress, now time.Time) []any {
		ports := "80"
		if len(i.Spec.TLS) > 0 {
			ports = "80, 443"
		}
		return []any{
			i.Name, ptr.Deref(i.Spec.IngressClassName, "<none>"), hosts(i.Spec.Rules), ingressAddress(i), ports,
			kinds.Age(i.CreationTimestamp, now),
		}
	},
}

// hosts shows the first three rules' hosts and how many rules more there are.
func hosts(rules []networking.IngressRule) string {
	var list []string
	more := 0
	for i, r := range rules {
		if len(list) == 3 {
			more = len(rules) - 3
			break
		}
		if rules[i].Host != "" {
			list = append(list, r.Host)
		}
	}
	switch s := strings.Join(list, ","); {
	case s == "":
		return "*"
	case more > 0:
		return fmt.Sprintf("%s + %d more...", s, more)
	default:
		return s
	}
}

func ingressAddress(i *networking.Ingress) string {
	var out []string
	for _, in := range i.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			out = append(out, in.IP)
		} else if in.Hostname != "" {
			out = append(out, in.Hostname)
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}
