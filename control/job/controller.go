package job

import (
	"context"
	"reflect"
	"sync"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Controller is the one of all Jobs.
type Controller struct {
	deps   control.Deps
	strays control.Strays[core.Pod, *core.Pod]

	mu      sync.Mutex // guards records
	records map[object.Key]record
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, records: map[object.Key]record{}}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	jobs := control.Loop{
		Name: "job", View: c.deps.View, Log: c.deps.Logger("job"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[batch.Job](),
			control.ControlledBy[core.Pod, batch.Job](),
			c.strays.Source(c.adopters),
		},
	}
	left := control.Loop{
		Name: "joborphans", View: c.deps.View, Log: c.deps.Logger("joborphans"), Do: orphans{c}, Workers: 4,
		Sources: []control.Source{
			control.On(c.onPod),
			{Resource: object.ResourceOf[batch.Job](), Keys: c.onJobGone},
		},
	}
	return run.All(ctx, run.Component{Name: "jobs", Run: jobs.Run}, run.Component{Name: "orphans", Run: left.Run})
}

func (c *Controller) adopters(p *core.Pod, wake func(object.Key)) {
	for _, j := range client.ListOf[batch.Job](c.deps.View, client.Select{Namespace: p.Namespace}) {
		if sel, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !sel.Empty() && sel.Matches(labels.Set(p.Labels)) {
			wake(object.KeyOf(j))
		}
	}
}

// Reconcile takes one Job a step further.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	d := c.deps
	job, ok := client.Lookup[batch.Job](d.View, key)
	if !ok {
		c.setRecord(key, record{})
		return control.Done, nil // deleted: ownergc removes the pods, orphans lets them go
	}
	if m := control.Or(job.Spec.ManagedBy, batch.JobControllerName); m != batch.JobControllerName {
		return control.Done, nil
	}
	if over := finished(job); over != nil {
		c.setRecord(key, record{})
		changes, again := planTTL(job, over, time.Now())
		return again, control.Apply(ctx, d.Client, d.Events, changes)
	}
	sel, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return control.Done, err
	}
	pods := client.Owned[core.Pod](d.View, job)
	if !sel.Empty() {
		for _, p := range c.strays.In(d.View, job.Namespace) {
			if !object.OwnedBy(p, job.UID) {
				pods = append(pods, p)
			}
		}
	}
	claims := control.Claim(job, sel, pods)
	if len(claims.Changes) > 0 {
		return control.Done, control.Apply(ctx, d.Client, d.Events, withFinalizers(claims.Changes))
	}
	r := plan(job, claims.Mine, c.record(key), time.Now())
	var changes []control.Change
	if !reflect.DeepEqual(r.status, job.Status) {
		n := object.Clone(job)
		n.Status = r.status
		changes = append(changes, control.Change{Op: control.Status, Object: n})
	}
	if err := control.Apply(ctx, d.Client, d.Events, changes); err != nil {
		return control.Done, err
	}
	c.setRecord(key, r.record) // the pods that it counts are in the status now
	for _, n := range r.notes {
		d.Events.Event(n.On, n.Type, n.Reason, "%s", n.Format)
	}
	return r.again, control.Apply(ctx, d.Client, d.Events, append(r.release, r.changes...))
}

func (c *Controller) record(key object.Key) record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records[key]
}

func (c *Controller) setRecord(key object.Key, r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.failures == 0 && len(r.ignored) == 0 {
		delete(c.records, key)
		return
	}
	c.records[key] = r
}

// planTTL deletes a finished Job when its time is over.
func planTTL(job *batch.Job, over *batch.JobCondition, now time.Time) ([]control.Change, control.Again) {
	ttl := job.Spec.TTLSecondsAfterFinished
	if ttl == nil || job.DeletionTimestamp != nil {
		return nil, control.Done
	}
	if end := over.LastTransitionTime.Add(time.Duration(*ttl) * time.Second); now.Before(end) {
		return nil, control.Until(end, now)
	}
	return []control.Change{{Op: control.Delete, Object: job, Propagation: new(metav1.DeletePropagationForeground), SameVersion: true}}, control.Done
}
