package rest

import (
	"context"

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

// admitBody takes what is posted to a subresource through the changing part of admission.
func (a *API) admitBody(ctx context.Context, s *Served, t client.Target, body object.Object, opt metav1.CreateOptions) (*admission.Request, error) {
	if err := matchNamespace(s, t.Namespace, body); err != nil {
		return nil, err
	}
	r := createWith(a.request(ctx, s, admission.Create, t.Sub), opt)
	r.Key, r.Object, r.Body = t.Key, body, object.KindOf(body)
	body.GetObjectKind().SetGroupVersionKind(r.Body)
	if err := a.admission.Admit(ctx, r); err != nil {
		r.Failed()
		return nil, failure(err)
	}
	return r, nil
}

// checkBody lets admission judge body, which r has posted.
func (a *API) checkBody(ctx context.Context, r *admission.Request, body object.Object) error {
	r.Object = body
	return failure(a.admission.Check(ctx, r))
}

// dryRun is what a create asks for, for the changes that it comes to.
func dryRun(r *admission.Request) []string {
	if r.DryRun {
		return []string{metav1.DryRunAll}
	}
	return nil
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
