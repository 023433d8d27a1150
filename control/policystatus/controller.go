package policystatus

import (
	"context"

	registration "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of the status of policies.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "policystatus", View: c.deps.View, Log: c.deps.Logger("policystatus"), Do: c, Workers: 1,
		Sources: []control.Source{control.Self[registration.ValidatingAdmissionPolicy]()},
	}
	return l.Run(ctx)
}

// Reconcile checks one policy, once for each of its generations.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	p, ok := client.Lookup[registration.ValidatingAdmissionPolicy](c.deps.View, key)
	if !ok || p.Generation <= p.Status.ObservedGeneration {
		return control.Done, nil
	}
	warnings, err := check(p, c.deps.View.Resources())
	if err != nil {
		return control.Done, err
	}
	n := object.Clone(p)
	n.Status.ObservedGeneration = p.Generation
	n.Status.TypeChecking = &registration.TypeChecking{ExpressionWarnings: warnings}
	_, err = client.UpdateStatus(ctx, c.deps.Client, n)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return control.Done, nil // it has changed: its event is on the way
	}
	return control.Done, err
}
