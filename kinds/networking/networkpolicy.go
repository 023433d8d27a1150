package networking

import (
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// NetworkPolicy is networking.k8s.io/v1 NetworkPolicy: who may talk to the pods that it selects, and to whom they may talk.
var NetworkPolicy = kinds.Def[networking.NetworkPolicy, *networking.NetworkPolicy]{
	Path:           "networking.k8s.io/v1/networkpolicies",
	Short:          []string{"netpol"},
	Generation:     true,
	Default:        defaultPolicy,
	ValidateCreate: func(n *networking.NetworkPolicy) field.ErrorList { return validatePolicy(n, nil) },
	ValidateUpdate: validatePolicy,
	Warn:           func(n, _ *networking.NetworkPolicy) []string { return warnPolicy(n) },
	Columns:        kinds.Columns("Name", "Pod-Selector|"+networking.NetworkPolicySpec{}.SwaggerDoc()["podSelector"], "Age"),
	Row: func(n *networking.NetworkPolicy, now time.Time) []any {
		return []any{n.Name, metav1.FormatLabelSelector(&n.Spec.PodSelector), kinds.Age(n.CreationTimestamp, now)}
	},
}

func defaultPolicy(n *networking.NetworkPolicy) {
	s := &n.Spec
	if len(s.PolicyTypes) == 0 {
		s.PolicyTypes = []networking.PolicyType{networking.PolicyTypeIngress}
		if len(s.Egress) > 0 {
			s.PolicyTypes = append(s.PolicyTypes, networking.PolicyTypeEgress)
		}
	}
	tcp := func(ports []networking.NetworkPolicyPort) {
		for i := range ports {
			if ports[i].Protocol == nil {
				ports[i].Protocol = ptr.To(core.ProtocolTCP)
			}
		}
	}
	for i := range s.Ingress {
		tcp(s.Ingress[i].Ports)
	}
	for i := range s.Egress {
		tcp(s.Egress[i].Ports)
	}
}

// policyCheck is what the checks of one policy have in common.
type policyCheck struct {
	*check.Errors
	selectors metavalidation.LabelSelectorValidationOptions
	before    []string // ranges of the stored policy, which may stay as they are
}

func validatePolicy(n, old *networking.NetworkPolicy) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		c := policyCheck{Errors: e}
		if old != nil {
			c.selectors.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, c.selectors, nil)) > 0
			eachBlock(old, func(_ *field.Path, b *networking.IPBlock) { c.before = append(append(c.before, b.CIDR), b.Except...) })
		}
		s, p := &n.Spec, field.NewPath("spec")
		c.selector(p.Child("podSelector"), &s.PodSelector)
		for i, r := range s.Ingress {
			c.rule(p.Child("ingress").Index(i), "from", r.Ports, r.From)
		}
		for i, r := range s.Egress {
			c.rule(p.Child("egress").Index(i), "to", r.Ports, r.To)
		}
		p = p.Child("policyTypes")
		if len(s.PolicyTypes) > 2 {
			e.Invalid(p, &s.PolicyTypes, "may not specify more than two policyTypes")
			return
		}
		for i, t := range s.PolicyTypes {
			check.OneOf(e, p.Index(i), t, networking.PolicyTypeIngress, networking.PolicyTypeEgress)
		}
	})
}

func (c policyCheck) selector(p *field.Path, s *metav1.LabelSelector) {
	c.Add(metavalidation.ValidateLabelSelector(s, c.selectors, p)...)
}

func (c policyCheck) rule(p *field.Path, side string, ports []networking.NetworkPolicyPort, peers []networking.NetworkPolicyPeer) {
	for i := range ports {
		c.port(p.Child("ports").Index(i), &ports[i])
	}
	for i := range peers {
		c.peer(p.Child(side).Index(i), &peers[i])
	}
}

func (c policyCheck) port(p *field.Path, n *networking.NetworkPolicyPort) {
	if n.Protocol != nil {
		check.OneOf(c.Errors, p.Child("protocol"), *n.Protocol, core.ProtocolTCP, core.ProtocolUDP, core.ProtocolSCTP)
	}
	switch end := p.Child("endPort"); {
	case n.Port == nil && n.EndPort != nil:
		c.Invalid(end, *n.EndPort, "may not be specified when `port` is not specified")
	case n.Port == nil:
	case n.Port.Type == intstr.Int:
		c.Port(p.Child("port"), n.Port.IntVal)
		if n.EndPort != nil {
			if *n.EndPort < n.Port.IntVal {
				c.Invalid(end, n.Port.IntVal, "must be greater than or equal to `port`")
			}
			c.Port(end, *n.EndPort)
		}
	default:
		if n.EndPort != nil {
			c.Invalid(end, *n.EndPort, "may not be specified when `port` is non-numeric")
		}
		c.Invalids(p.Child("port"), n.Port.StrVal, utilvalidation.IsValidPortName(n.Port.StrVal))
	}
}

func (c policyCheck) peer(p *field.Path, n *networking.NetworkPolicyPeer) {
	if n.PodSelector != nil {
		c.selector(p.Child("podSelector"), n.PodSelector)
	}
	if n.NamespaceSelector != nil {
		c.selector(p.Child("namespaceSelector"), n.NamespaceSelector)
	}
	if n.IPBlock != nil {
		c.block(p.Child("ipBlock"), n.IPBlock)
	}
	switch selects := n.PodSelector != nil || n.NamespaceSelector != nil; {
	case !selects && n.IPBlock == nil:
		c.Required(p, "must specify a peer")
	case selects && n.IPBlock != nil:
		c.Forbidden(p, "may not specify both ipBlock and another peer")
	}
}

func (c policyCheck) block(p *field.Path, b *networking.IPBlock) {
	if b.CIDR == "" {
		c.Required(p.Child("cidr"), "")
		return
	}
	c.CIDR(p.Child("cidr"), b.CIDR, c.before)
	_, outer, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return // said already
	}
	bits, _ := outer.Mask.Size()
	for i, text := range b.Except {
		at := p.Child("except").Index(i)
		c.CIDR(at, text, c.before)
		_, inner, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue
		}
		if n, _ := inner.Mask.Size(); !outer.Contains(inner.IP) || bits >= n {
			c.Invalid(at, text, "must be a strict subset of `cidr`")
		}
	}
}

func eachBlock(n *networking.NetworkPolicy, visit func(*field.Path, *networking.IPBlock)) {
	each := func(p *field.Path, peers []networking.NetworkPolicyPeer) {
		for i := range peers {
			if b := peers[i].IPBlock; b != nil {
				visit(p.Index(i).Child("ipBlock"), b)
			}
		}
	}
	p := field.NewPath("spec")
	for i := range n.Spec.Ingress {
		each(p.Child("ingress").Index(i).Child("from"), n.Spec.Ingress[i].From)
	}
	for i := range n.Spec.Egress {
		each(p.Child("egress").Index(i).Child("to"), n.Spec.Egress[i].To)
	}
}

func warnPolicy(n *networking.NetworkPolicy) (out []string) {
	eachBlock(n, func(p *field.Path, b *networking.IPBlock) {
		out = append(out, utilvalidation.GetWarningsForCIDR(p.Child("cidr"), b.CIDR)...)
		for i, x := range b.Except {
			out = append(out, utilvalidation.GetWarningsForCIDR(p.Child("except").Index(i), x)...)
		}
	})
	return out
}
