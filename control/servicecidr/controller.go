package servicecidr

import (
	"context"
	"net/netip"
	"time"

	networking "k8s.io/api/networking/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller keeps the ServiceCIDRs.
type Controller struct {
	deps control.Deps
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "servicecidr", View: c.deps.View, Log: c.deps.Logger("servicecidr"), Do: c, Workers: 1,
		Sources: []control.Source{
			control.Self[networking.ServiceCIDR](),
			control.On(func(_, _ *networking.ServiceCIDR, wake func(object.Key)) { c.leaving(wake) }),
			control.On(func(_, _ *networking.IPAddress, wake func(object.Key)) { c.leaving(wake) }), // one less to wait for
		},
	}
	return l.Run(ctx)
}

// Reconcile looks at one ServiceCIDR. Safe to repeat.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	r, ok := client.Lookup[networking.ServiceCIDR](c.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	var addresses []netip.Addr
	if r.DeletionTimestamp != nil {
		for _, a := range client.ListOf[networking.IPAddress](c.deps.View, client.Select{}) {
			if ip, err := netip.ParseAddr(a.Name); err == nil { // the API checks it
				addresses = append(addresses, ip)
			}
		}
	}
	changes, again := plan(r, client.ListOf[networking.ServiceCIDR](c.deps.View, client.Select{}), addresses, time.Now())
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// leaving wakes the ServiceCIDRs that are to go.
func (c *Controller) leaving(wake func(object.Key)) {
	for _, r := range client.ListOf[networking.ServiceCIDR](c.deps.View, client.Select{}) {
		if r.DeletionTimestamp != nil {
			wake(object.KeyOf(r))
		}
	}
}
