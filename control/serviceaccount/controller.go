package serviceaccount

import (
	"context"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Name of the account that every namespace has.
const Name = "default"

// Controller is the one of all default ServiceAccounts.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "serviceaccount", View: c.deps.View, Log: c.deps.Logger("serviceaccount"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[core.Namespace](),
			control.On(func(sa, _ *core.ServiceAccount, wake func(object.Key)) {
				if sa.Name == Name {
					wake(object.Key{Name: sa.Namespace})
				}
			}),
		},
	}
	return l.Run(ctx)
}

// Reconcile creates the account of one namespace if it is missing.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	ns, ok := client.Lookup[core.Namespace](c.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	_, exists := client.Lookup[core.ServiceAccount](c.deps.View, object.Key{Namespace: ns.Name, Name: Name})
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, plan(ns, exists))
}

func plan(ns *core.Namespace, exists bool) []control.Change {
	if exists || ns.DeletionTimestamp != nil || ns.Status.Phase == core.NamespaceTerminating {
		return nil
	}
	return []control.Change{{Op: control.Create, Object: &core.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: Name},
	}}}
}
