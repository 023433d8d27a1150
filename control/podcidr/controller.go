package podcidr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Config says what there is to give.
type Config struct {
	Ranges []netip.Prefix // of the whole cluster, at most one of each family
	Server string         // the node that has the first part
}

// Controller gives the parts.
type Controller struct {
	deps control.Deps
	cfg  Config
}

// New makes the controller; see Run.
func New(d control.Deps, cfg Config) (*Controller, error) {
	if len(cfg.Ranges) == 0 {
		return nil, errors.New("podcidr: no pod range")
	}
	return &Controller{d, cfg}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "podcidr", View: c.deps.View, Log: c.deps.Logger("podcidr"), Do: c,
		Workers: 1, // two nodes at the same time would take the same part
		Sources: []control.Source{control.Self[core.Node]()},
	}
	return l.Run(ctx)
}

// Reconcile gives one node its part, if it has none.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	n, ok := client.Lookup[core.Node](c.deps.View, key)
	if !ok || len(n.Spec.PodCIDRs) > 0 || n.DeletionTimestamp != nil {
		return control.Done, nil
	}
	own := First(c.cfg.Ranges)
	if n.Name != c.cfg.Server {
		own = assign(c.cfg.Ranges, takenBy(client.ListOf[core.Node](c.deps.View, client.Select{})))
	}
	if own == nil {
		return control.Done, fmt.Errorf("node %s: every part of %v is taken by a node", n.Name, c.cfg.Ranges)
	}
	n = object.Clone(n)
	for _, p := range own {
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, p.String())
	}
	n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Update, Object: n}})
}
