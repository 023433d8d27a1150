package resourcequota

import (
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/kinds/core/quota"
	"proa.dev/object"
)

// counted is a resource and what counts its objects.
type counted struct {
	object.Resource
	counter *quota.Counter
}

// input is what a plan is made of.
type input struct {
	quota    *core.ResourceQuota
	counters []counted
	freed    core.ResourceList // seen to go since the status was written
	atRest   bool              // nobody has changed the status for a while
	again    control.Again     // when it will be at rest
	idle     bool              // nothing has happened since the last count
	events   int               // what has happened so far: see state
	now      time.Time
}

// output is what is to be done.
type output struct {
	status  *core.ResourceQuotaStatus // nil: nothing to write
	counted bool                      // the status is a count
	gradual bool                      // the write may wait a little for others to join it
	lapse   time.Time                 // when something that was counted counts no more although it is there, zero: nothing does
	again   control.Again
}

// plan makes the status of a quota. list lists the objects of its namespace.
func plan(in input, list func(client.Resource) []object.Object) (out output) {
	q := in.quota
	used, fresh := core.ResourceList{}, false
	known := map[core.ResourceName]bool{}
	for _, c := range in.counters {
		for _, n := range c.counter.Names(q.Spec.Hard) {
			known[n] = true
		}
	}
	for n := range q.Spec.Hard {
		have, ok := q.Status.Used[n]
		if _, limited := q.Status.Hard[n]; ok && limited || ok && !known[n] {
			used[n] = have.DeepCopy()
		} else {
			fresh = fresh || known[n]
		}
	}
	out.counted = in.atRest && !in.idle
	if out.counted || fresh {
		var count core.ResourceList
		count, out.lapse = in.count(known, list)
		for n, have := range count {
			if _, ok := used[n]; !ok || out.counted {
				used[n] = have
			}
		}
		if !out.lapse.IsZero() {
			out.lapse = out.lapse.Add(time.Millisecond)
			out.again = control.Until(out.lapse, in.now)
		}
	}
	if !out.counted {
		for n, gone := range in.freed {
			if have, ok := used[n]; ok {
				if have.Sub(gone); have.Sign() < 0 {
					have = resource.Quantity{Format: have.Format}
				}
				used[n] = have
			}
		}
		if !in.idle {
			out.again = out.again.Sooner(in.again)
		}
	}
	same := quota.Equal(q.Spec.Hard, q.Status.Hard)
	if same && quota.Equal(used, q.Status.Used) {
		return out
	}
	out.gradual = same && !fresh
	out.status = &core.ResourceQuotaStatus{Hard: q.Spec.Hard.DeepCopy(), Used: used}
	return out
}

// count is what the objects there are use by these names, and when the next pod that is being deleted counts no more.
func (in *input) count(names map[core.ResourceName]bool, list func(client.Resource) []object.Object) (sum core.ResourceList, lapse time.Time) {
	sum = core.ResourceList{}
	for n := range names {
		sum[n] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, c := range in.counters {
		for _, o := range list(c.GroupVersionResource) {
			if !c.counter.InScope(&in.quota.Spec, o) {
				continue
			}
			for n, used := range c.counter.Usage(o, in.now) {
				if names[n] {
					total := sum[n]
					total.Add(used)
					sum[n] = total
				}
			}
			if p, ok := o.(*core.Pod); ok {
				if at := quota.LapsesAt(p, in.now); !at.IsZero() && (lapse.IsZero() || at.Before(lapse)) {
					lapse = at
				}
			}
		}
	}
	return sum, lapse
}

// change is what an event means for a quota.
type change struct {
	any   bool              // it may change what is used, now or later
	freed core.ResourceList // what is used no more
}

// changeOf says what an event means for a quota. What is used more has been added by admission.
func changeOf(counter *quota.Counter, q *core.ResourceQuota, e client.Event, now time.Time) change {
	usage := func(o object.Object) core.ResourceList {
		if o == nil || !counter.InScope(&q.Spec, o) {
			return nil
		}
		return counter.Usage(o, now)
	}
	switch {
	case e.Type == client.Deleted:
		freed := quota.More(usage(e.Object), nil)
		return change{len(freed) > 0, freed}
	case e.Old == nil:
		return change{any: true}
	}
	before, after := usage(e.Old), usage(e.Object)
	ending := e.Old.GetDeletionTimestamp() == nil && e.Object.GetDeletionTimestamp() != nil
	return change{ending || !quota.Equal(before, after), quota.More(before, after)}
}
