package devicetaint

import (
	"context"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Controller is the one of pods that use tainted devices, and of what rules say of that. A key without a namespace is that of a rule.
type Controller struct {
	deps control.Deps
	loop control.Loop

	mu      sync.Mutex // guards evicted
	evicted map[types.UID]int
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) {
	return &Controller{deps: d, evicted: map[types.UID]int{}}, nil
}

// Run works until ctx ends. Without the API group there is nothing to do.
func (c *Controller) Run(ctx context.Context) error {
	carried := func(r client.Resource) bool {
		return slices.ContainsFunc(c.deps.View.Resources(), func(have object.Resource) bool { return have.GroupVersionResource == r })
	}
	if !carried(object.ResourceOf[resource.ResourceSlice]()) {
		<-ctx.Done()
		return ctx.Err()
	}
	c.loop = control.Loop{
		Name: "device-taint-eviction", Do: c, View: c.deps.View, Log: c.deps.Logger("device-taint-eviction"),
		Sources: []control.Source{control.On(c.onSlice), control.On(onClaim), control.On(c.onPod)},
	}
	if carried(object.ResourceOf[resource.DeviceTaintRule]()) { // younger than the others
		c.loop.Sources = append(c.loop.Sources, control.On(c.onRule))
	}
	return c.loop.Run(ctx)
}

// onSlice wakes who uses devices of a slice that has, or had, such taints.
func (c *Controller) onSlice(now, old *resource.ResourceSlice, wake func(object.Key)) {
	if !evicts(now) && !evicts(old) {
		return
	}
	c.users(func(r *resource.DeviceRequestAllocationResult) bool {
		return r.Driver == now.Spec.Driver && r.Pool == now.Spec.Pool.Name
	}, wake)
}

// users wakes those of devices.
func (c *Controller) users(of func(*resource.DeviceRequestAllocationResult) bool, wake func(object.Key)) {
	for _, claim := range client.ListOf[resource.ResourceClaim](c.deps.View, client.Select{}) {
		if a := claim.Status.Allocation; a != nil && slices.ContainsFunc(a.Devices.Results, func(r resource.DeviceRequestAllocationResult) bool { return of(&r) }) {
			onClaim(claim, nil, wake)
		}
	}
}

func evicts(s *resource.ResourceSlice) bool {
	return s != nil && slices.ContainsFunc(s.Spec.Devices, func(d resource.Device) bool {
		return slices.ContainsFunc(d.Taints, func(t resource.DeviceTaint) bool { return t.Effect == resource.DeviceTaintEffectNoExecute })
	})
}

// onClaim wakes the users of a claim.
func onClaim(claim, _ *resource.ResourceClaim, wake func(object.Key)) {
	for _, u := range claim.Status.ReservedFor {
		if u.APIGroup == "" && u.Resource == "pods" {
			wake(object.Key{Namespace: claim.Namespace, Name: u.Name})
		}
	}
}

// onPod wakes a pod with claims that has come to its node, and the rules that count those that have to go.
func (c *Controller) onPod(p, old *core.Pod, wake func(object.Key)) {
	if len(p.Spec.ResourceClaims) == 0 && p.Status.ExtendedResourceClaimStatus == nil || p.Spec.NodeName == "" {
		return
	}
	came := old == nil || old.Spec.NodeName == ""
	if came {
		wake(object.KeyOf(p))
	}
	if came || old.DeletionTimestamp == nil && p.DeletionTimestamp != nil {
		for _, r := range c.evicting() {
			wake(object.KeyOf(r))
		}
	}
}

// Reconcile deletes a pod whose time with its devices is over, or tells in a rule's status what it does.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	if key.Namespace == "" {
		return c.tell(ctx, key)
	}
	p, ok := client.Lookup[core.Pod](c.deps.View, key)
	if !ok || p.DeletionTimestamp != nil || p.Spec.NodeName == "" {
		return control.Done, nil
	}
	now := time.Now()
	v := c.verdict(p, c.evicting())
	switch {
	case !v.tainted:
		return control.Done, nil
	case now.Before(v.end):
		return control.Until(v.end, now), nil
	}
	n := object.Clone(p)
	control.SetPodCondition(&n.Status, core.PodCondition{
		Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "DeletionByDeviceTaintManager",
		Message: "Device Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now),
	})
	if err := control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{
		{Op: control.Status, Object: n},
		{Op: control.Delete, Object: p, Said: control.Note{On: p, Reason: "DeviceTaintManagerEviction", Format: "Marking for deletion"}},
	}); err != nil {
		return control.Done, err
	}
	c.count(v.rules)
	return control.Done, nil
}

// verdict says whether and when a pod has to go.
type verdict struct {
	tainted bool
	end     time.Time
	rules   []*resource.DeviceTaintRule // those that have a part in it
}

// verdict looks at all devices of a pod, with the taints that these rules give.
func (c *Controller) verdict(p *core.Pod, rules []*resource.DeviceTaintRule) (v verdict) {
	for name, own := range resourceclaim.PodClaims(p) {
		claim, ok := client.Lookup[resource.ResourceClaim](c.deps.View, object.Key{Namespace: p.Namespace, Name: name})
		if !ok || claim.Status.Allocation == nil || !resourceclaim.IsReservedForPod(p, claim, false) ||
			own && resourceclaim.IsForPod(p, claim, false) != nil {
			continue
		}
		for i := range claim.Status.Allocation.Devices.Results {
			r := &claim.Status.Allocation.Devices.Results[i]
			for _, t := range c.taints(r) {
				v.add(r, &t, nil)
			}
			for _, rule := range rules {
				if selects(rule, r.Driver, r.Pool, r.Device) {
					v.add(r, &rule.Spec.Taint, rule)
				}
			}
		}
	}
	return v
}

// add takes in a taint of an allocated device, and the rule that it comes from; nil: its driver set it.
func (v *verdict) add(r *resource.DeviceRequestAllocationResult, t *resource.DeviceTaint, rule *resource.DeviceTaintRule) {
	at, evicts := until(r, t)
	if !evicts {
		return
	}
	if !v.tainted || at.Before(v.end) {
		v.tainted, v.end = true, at
	}
	if rule != nil && !slices.Contains(v.rules, rule) {
		v.rules = append(v.rules, rule)
	}
}

// taints are those that its driver gives an allocated device, in the newest state of its pool.
func (c *Controller) taints(r *resource.DeviceRequestAllocationResult) (out []resource.DeviceTaint) {
	newest := int64(-1)
	for _, s := range client.ListOf[resource.ResourceSlice](c.deps.View, client.Select{}) {
		if s.Spec.Driver != r.Driver || s.Spec.Pool.Name != r.Pool || s.Spec.Pool.Generation < newest {
			continue
		}
		if s.Spec.Pool.Generation > newest {
			newest, out = s.Spec.Pool.Generation, nil
		}
		for i := range s.Spec.Devices {
			if s.Spec.Devices[i].Name == r.Device {
				out = s.Spec.Devices[i].Taints
			}
		}
	}
	return out
}

// until is how long the device may be used with the taint; evicts is false if for ever.
func until(r *resource.DeviceRequestAllocationResult, t *resource.DeviceTaint) (at time.Time, evicts bool) {
	if t.Effect != resource.DeviceTaintEffectNoExecute {
		return at, false
	}
	if t.TimeAdded != nil {
		at = t.TimeAdded.Time
	}
	shortest := int64(-1)
	for _, tol := range r.Tolerations {
		if tol.Effect != resource.DeviceTaintEffectNoExecute || !resourceclaim.ToleratesTaint(tol, *t) {
			continue
		}
		if tol.TolerationSeconds == nil {
			return at, false
		}
		if s := max(*tol.TolerationSeconds, 0); shortest < 0 || s < shortest {
			shortest = s
		}
	}
	return at.Add(time.Duration(max(shortest, 0)) * time.Second), true
}
