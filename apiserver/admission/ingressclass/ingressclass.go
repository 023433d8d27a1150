package ingressclass

import (
	"context"

	networking "k8s.io/api/networking/v1"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
)

// byAnnotation is how an ingress named its class before there was a field for it.
const byAnnotation = "kubernetes.io/ingress.class"

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) {
	return admission.Part{Steps: []admission.Step{{Name: "DefaultIngressClass", Admit: func(_ context.Context, r *admission.Request) error {
		return admit(d.View, r)
	}}}}, nil
}

func admit(view client.View, r *admission.Request) error {
	if r.Op != admission.Create || !r.Is("networking.k8s.io", "ingresses") {
		return nil
	}
	ing := r.Object.(*networking.Ingress)
	if _, named := ing.Annotations[byAnnotation]; named || ing.Spec.IngressClassName != nil {
		return nil
	}
	var newest *networking.IngressClass // of several defaults; of two of the same second the first by name
	for _, c := range client.ListOf[networking.IngressClass](view, client.Select{}) {
		if c.Annotations[networking.AnnotationIsDefaultIngressClass] == "true" && (newest == nil || newest.CreationTimestamp.Before(&c.CreationTimestamp)) {
			newest = c
		}
	}
	if newest != nil {
		name := newest.Name
		ing.Spec.IngressClassName = &name
	}
	return nil
}
