package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds/check"
)

// classAnnotation is how Ingresses named their class before they had a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

const maxController = 250

func validateIngress(i *networking.Ingress) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		s, p := &i.Spec, field.NewPath("spec")
		if len(s.Rules) == 0 && s.DefaultBackend == nil {
			e.Invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified")
		}
		if s.DefaultBackend != nil {
			backend(e, p.Child("defaultBackend"), s.DefaultBackend)
		}
		for n := range s.Rules {
			rule(e, p.Child("rules").Index(n), &s.Rules[n])
		}
		for n, t := range s.TLS {
			for m, h := range t.Hosts {
				host(e, p.Child("tls").Index(n).Child("hosts").Index(m), h)
			}
			if t.SecretName != "" {
				e.Subdomain(p.Child("tls").Index(n).Child("secretName"), t.SecretName)
			}
		}
		if c := s.IngressClassName; c != nil {
			e.Subdomain(p.Child("ingressClassName"), *c)
		}
	})
}

func host(e *check.Errors, p *field.Path, h string) {
	if strings.Contains(h, "*") {
		e.Invalids(p, h, utilvalidation.IsWildcardDNS1123Subdomain(h))
	} else {
		e.Subdomain(p, h)
	}
}

func rule(e *check.Errors, p *field.Path, r *networking.IngressRule) {
	if r.Host != "" {
		if netutils.ParseIPSloppy(r.Host) != nil {
			e.Invalid(p.Child("host"), r.Host, "must be a DNS name, not an IP address")
		}
		host(e, p.Child("host"), r.Host)
	}
	if r.HTTP == nil {
		return
	}
	p = p.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		e.Required(p, "")
	}
	for i := range r.HTTP.Paths {
		httpPath(e, p.Index(i), &r.HTTP.Paths[i])
	}
}

func httpPath(e *check.Errors, p *field.Path, h *networking.HTTPIngressPath) {
	at := p.Child("path")
	if h.PathType == nil {
		e.Required(p.Child("pathType"), "pathType must be specified")
		return
	}
	absolute := strings.HasPrefix(h.Path, "/")
	switch *h.PathType {
	case networking.PathTypeExact, networking.PathTypePrefix:
		if !absolute {
			e.Invalid(at, h.Path, "must be an absolute path")
		}
		for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(h.Path, bad) {
				e.Invalid(at, h.Path, fmt.Sprintf("must not contain '%s'", bad))
			}
		}
		for _, bad := range []string{"/..", "/."} {
			if strings.HasSuffix(h.Path, bad) {
				e.Invalid(at, h.Path, fmt.Sprintf("cannot end with '%s'", bad))
			}
		}
	case networking.PathTypeImplementationSpecific:
		if h.Path != "" && !absolute {
			e.Invalid(at, h.Path, "must be an absolute path")
		}
	default:
		check.OneOf(e, p.Child("pathType"), *h.PathType,
			networking.PathTypeExact, networking.PathTypeImplementationSpecific, networking.PathTypePrefix)
	}
	backend(e, p.Child("backend"), &h.Backend)
}

func backend(e *check.Errors, p *field.Path, b *networking.IngressBackend) {
	switch {
	case b.Resource != nil && b.Service != nil:
		e.Invalid(p, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		reference(e, p.Child("resource"), b.Resource)
	case b.Service != nil:
		s := b.Service
		if s.Name == "" {
			e.Required(p.Child("service", "name"), "")
		} else {
			e.Label(p.Child("service", "name"), s.Name)
		}
		switch named, numbered := s.Port.Name != "", s.Port.Number != 0; {
		case named && numbered:
			e.Invalid(p, "", "cannot set both port name & port number")
		case named:
			e.Invalids(p.Child("service", "port", "name"), s.Port.Name, utilvalidation.IsValidPortName(s.Port.Name))
		case numbered:
			e.Port(p.Child("service", "port", "number"), s.Port.Number)
		default:
			e.Required(p, "port name or number is required")
		}
	default:
		e.Invalid(p, "", "resource or service backend is required")
	}
}

func reference(e *check.Errors, p *field.Path, r *corev1.TypedLocalObjectReference) {
	if r.APIGroup != nil {
		e.Subdomain(p.Child("apiGroup"), *r.APIGroup)
	}
	for _, f := range [][2]string{{"kind", r.Kind}, {"name", r.Name}} {
		if f[1] == "" {
			e.Required(p.Child(f[0]), "")
		} else {
			e.Invalids(p.Child(f[0]), f[1], path.IsValidPathSegmentName(f[1]))
		}
	}
}

func validateNewIngress(i *networking.Ingress) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if v, ok := i.Annotations[classAnnotation]; ok && i.Spec.IngressClassName != nil && v != *i.Spec.IngressClassName {
			e.Invalid(field.NewPath("annotations", classAnnotation), v, "must match `ingressClassName` when both are specified")
		}
	})
}

func warnIngress(i, old *networking.Ingress) []string {
	if _, ok := i.Annotations[classAnnotation]; ok && old == nil && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
	}
	return nil
}

func validateIngressStatus(i, old *networking.Ingress) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		var before []string
		for _, in := range old.Status.LoadBalancer.Ingress {
			before = append(before, in.IP)
		}
		for n, in := range i.Status.LoadBalancer.Ingress {
			p := field.NewPath("status", "loadBalancer", "ingress").Index(n)
			if in.IP != "" {
				e.IP(p.Child("ip"), in.IP, before)
			}
			if in.Hostname != "" {
				e.Subdomain(p.Child("hostname"), in.Hostname)
				if netutils.ParseIPSloppy(in.Hostname) != nil {
					e.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
				}
			}
		}
	})
}

func validateIngressClass(c *networking.IngressClass) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec")
		if len(c.Spec.Controller) > maxController {
			e.Add(field.TooLong(p.Child("controller"), "", maxController))
		}
		e.Add(utilvalidation.IsDomainPrefixedPath(p.Child("controller"), c.Spec.Controller)...)
		x := c.Spec.Parameters
		if x == nil {
			return
		}
		p = p.Child("parameters")
		reference(e, p, &corev1.TypedLocalObjectReference{APIGroup: x.APIGroup, Kind: x.Kind, Name: x.Name})
		if x.Scope == nil {
			e.Required(p.Child("scope"), "")
			return
		}
		const namespaced, cluster = networking.IngressClassParametersReferenceScopeNamespace, networking.IngressClassParametersReferenceScopeCluster
		check.OneOf(e, p.Child("scope"), *x.Scope, cluster, namespaced)
		switch {
		case *x.Scope == namespaced && x.Namespace == nil:
			e.Required(p.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
		case *x.Scope == namespaced:
			e.Invalids(p.Child("namespace"), *x.Namespace, validation.ValidateNamespaceName(*x.Namespace, false))
		case *x.Scope == cluster && x.Namespace != nil:
			e.Forbidden(p.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
		}
	})
}

func validateIngressClassUpdate(c, old *networking.IngressClass) field.ErrorList {
	return append(check.Run(func(e *check.Errors) {
		e.Immutable(field.NewPath("spec", "controller"), c.Spec.Controller, old.Spec.Controller)
	}), validateIngressClass(c)...)
}
