//lint:file-ignore SA1019 ComponentStatus is deprecated, but clients still ask for it.

package rest

import (
	"context"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/object"
)

// controlLease is what whoever runs the controllers and the scheduler holds.
var controlLease = object.Key{Namespace: "kube-system", Name: "proa-control"}

// components says of the parts of the control plane whether they are well, in the order of their names: the controllers and the
// scheduler, which run where the lease is held, and the store.
func (a *API) components(ctx context.Context, s *Served) []*cache.Item {
	well := func(ok bool, problem string) core.ComponentCondition {
		if ok {
			return core.ComponentCondition{Type: core.ComponentHealthy, Status: core.ConditionTrue, Message: "ok"}
		}
		return core.ComponentCondition{Type: core.ComponentHealthy, Status: core.ConditionFalse, Message: problem}
	}
	control := well(a.controlled(), "nobody holds the lease "+controlLease.String())
	storage := well(true, "")
	if err := a.cache.Fresh(ctx); err != nil {
		storage = well(false, err.Error())
	}
	var out []*cache.Item
	for _, c := range []struct {
		name string
		is   core.ComponentCondition
	}{{"controller-manager", control}, {"etcd-0", storage}, {"scheduler", control}} {
		o := &core.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: c.name}, Conditions: []core.ComponentCondition{c.is}}
		o.SetGroupVersionKind(s.GVK())
		out = append(out, cache.Loose(s.Kind, o))
	}
	return out
}

func (a *API) controlled() bool {
	leases := a.Find(object.ResourceOf[coordination.Lease]())
	if leases == nil {
		return false
	}
	it, ok := leases.Shelf.Get(controlLease)
	if !ok {
		return false
	}
	l := it.Object.(*coordination.Lease).Spec
	if l.HolderIdentity == nil || *l.HolderIdentity == "" || l.RenewTime == nil || l.LeaseDurationSeconds == nil {
		return false
	}
	return a.now().Before(l.RenewTime.Add(time.Duration(*l.LeaseDurationSeconds) * time.Second))
}
