package rest

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/object"
)

// request is what admission gets to see of a request, but for the objects.
func (a *API) request(ctx context.Context, s *Served, op admission.Operation, sub string) *admission.Request {
	user, _ := authn.From(ctx)
	r := &admission.Request{Op: op, Kind: s.Kind, Served: s.Resource, Sub: sub, Body: s.GVK(), User: user}
	if s.Kind.Custom != nil {
		r.Kinds = a.Kinds()
	}
	return r
}

// createWith, updateWith and deleteWith add what the client asked for beside the object.
func createWith(r *admission.Request, opt metav1.CreateOptions) *admission.Request {
	r.Options, r.DryRun = &opt, dry(opt.DryRun)
	return withKind(r, "CreateOptions")
}

func updateWith(r *admission.Request, opt metav1.UpdateOptions) *admission.Request {
	r.Options, r.DryRun = &opt, dry(opt.DryRun)
	return withKind(r, "UpdateOptions")
}

func deleteWith(r *admission.Request, opt metav1.DeleteOptions) *admission.Request {
	r.Options, r.DryRun = &opt, dry(opt.DryRun)
	return withKind(r, "DeleteOptions")
}

func withKind(r *admission.Request, kind string) *admission.Request {
	r.Options.GetObjectKind().SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind(kind))
	return r
}

// admitSub takes the body of a subresource through admission, and returns what admission has made of it.
func admitSub[P object.Object](ctx context.Context, a *API, s *Served, t client.Target, body P, opt metav1.CreateOptions) (P, error) {
	r := createWith(a.request(ctx, s, admission.Create, t.Sub), opt)
	r.Key, r.Object, r.Body = t.Key, body, object.KindOf(body)
	body.GetObjectKind().SetGroupVersionKind(r.Body)
	err := a.admission.Admit(ctx, r)
	if err == nil {
		err = a.admission.Check(ctx, r)
	}
	if err != nil {
		r.Failed()
		return body, failure(err)
	}
	made, ok := r.Object.(P)
	if !ok {
		return body, failure(fmt.Errorf("admission made a %T of a %s", r.Object, r.Body.Kind))
	}
	return made, nil
}

// Connect takes the opening of a connection through admission. options say what is to be connected, as Kubernetes names it
// (PodExecOptions ...); the result is what admission has made of them.
func (a *API) Connect(ctx context.Context, s *Served, t client.Target, options runtime.Object) (runtime.Object, error) {
	r := a.request(ctx, s, admission.Connect, t.Sub)
	r.Key, r.Object, r.Body = t.Key, &admission.Connection{Object: options}, options.GetObjectKind().GroupVersionKind()
	err := a.admission.Admit(ctx, r)
	if err == nil {
		err = a.admission.Check(ctx, r)
	}
	if err != nil {
		r.Failed()
		return nil, failure(err)
	}
	made, err := r.Out(ctx, r.Object, r.Body)
	return made, failure(err)
}
