package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/rest"
)

// deprecation is the warning that a kind which is on its way out brings with every answer; "" for others.
func (s *Server) deprecation(of *rest.Served, sub string) string {
	if of.Kind.Custom != nil {
		return ""
	}
	text, ok := s.going.Load(of)
	if !ok {
		text, _ = s.going.LoadOrStore(of, deprecated(of))
	}
	if text != "" {
		g := goingKind{group: of.GroupVersionResource.Group, version: of.GroupVersionResource.Version, resource: of.GroupVersionResource.Resource, sub: sub}
		if o, ok := of.New().(interface{ APILifecycleRemoved() (major, minor int) }); ok {
			if major, minor := o.APILifecycleRemoved(); major > 0 {
				g.removed = fmt.Sprintf("%d.%d", major, minor)
			}
		}
		s.metrics.going.Get(g, nil)
	}
	return text.(string)
}

// deprecated asks the type.
func deprecated(s *rest.Served) string {
	o := s.New()
	d, ok := o.(interface{ APILifecycleDeprecated() (major, minor int) })
	if !ok {
		return ""
	}
	major, minor := d.APILifecycleDeprecated()
	if major == 0 && minor == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %s is deprecated in v%d.%d+", s.GroupVersion(), s.Resource.Kind, major, minor)
	if r, ok := o.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}); ok {
		if by := r.APILifecycleReplacement(); !by.Empty() {
			text += fmt.Sprintf("; use %s %s", by.GroupVersion(), by.Kind)
		}
	}
	return text
}
