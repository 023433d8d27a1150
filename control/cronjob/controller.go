package cronjob

import (
	"context"
	"reflect"
	"time"

	batch "k8s.io/api/batch/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of all CronJobs.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "cronjob", View: c.deps.View, Log: c.deps.Logger("cronjob"), Do: c, Workers: 4,
		Sources: []control.Source{control.Self[batch.CronJob](), control.ControlledBy[batch.Job, batch.CronJob]()},
	}
	return l.Run(ctx)
}

// Reconcile starts the Job of one CronJob that is due, and follows those that run.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := c.deps
	cj, ok := client.Lookup[batch.CronJob](d.View, key)
	if !ok {
		return control.Done, nil // deleted: ownergc removes the Jobs
	}
	var jobs []*batch.Job
	for _, j := range client.Owned[batch.Job](d.View, cj) {
		if control.Controls(cj, j) {
			jobs = append(jobs, j)
		}
	}
	r := plan(cj, jobs, time.Now())
	for _, n := range r.notes {
		d.Events.Event(n.On, n.Type, n.Reason, "%s", n.Format)
	}
	// The changes go first: a Job that is there but not noted is found by its name and noted in the next pass.
	if err := control.Apply(ctx, d.Client, d.Events, r.changes); err != nil {
		return control.Done, err
	}
	for i := range r.changes {
		if r.changes[i].Op == control.Create {
			key := object.Key{Namespace: cj.Namespace, Name: r.changes[i].Object.GetName()}
			if j, ok := client.Lookup[batch.Job](d.View, key); ok && control.Controls(cj, j) {
				r.status.Active = append(r.status.Active, refOf(j))
			}
		}
	}
	if reflect.DeepEqual(r.status, cj.Status) {
		return r.again, nil
	}
	n := object.Clone(cj)
	n.Status = r.status
	return r.again, control.Apply(ctx, d.Client, d.Events, []control.Change{{Op: control.Status, Object: n}})
}
