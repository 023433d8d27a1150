package podcertificate

import (
	"context"
	"time"

	certificates "k8s.io/api/certificates/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// keep is how long a request lives. Kubelets take it from there at once, and make a new one if it is gone.
const keep = 15 * time.Minute

// Controller is the one of all requests for pods' certificates.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "podcertificate", View: c.deps.View, Log: c.deps.Logger("podcertificate"), Do: c, Workers: 1,
		Sources: []control.Source{control.Self[certificates.PodCertificateRequest]()},
	}
	return l.Run(ctx)
}

// Reconcile deletes one request when its time is over. Safe to repeat.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	r, ok := client.Lookup[certificates.PodCertificateRequest](c.deps.View, key)
	if !ok || r.DeletionTimestamp != nil {
		return control.Done, nil
	}
	now := time.Now()
	if end := r.CreationTimestamp.Add(keep); now.Before(end) {
		return control.Until(end, now), nil
	}
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Delete, Object: r}})
}
