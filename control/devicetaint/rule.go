package devicetaint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// tellEvery is the shortest time between two changes of what a rule's status tells of the same spec.
const tellEvery = 10 * time.Second

// selects says whether a rule is for a device. Without a selector it is for none.
func selects(rule *resource.DeviceTaintRule, driver, pool, device string) bool {
	s := rule.Spec.DeviceSelector
	return s != nil && control.Or(s.Driver, driver) == driver && control.Or(s.Pool, pool) == pool && control.Or(s.Device, device) == device
}

// evicting are the rules that make pods go.
func (c *Controller) evicting() []*resource.DeviceTaintRule {
	return slices.DeleteFunc(client.ListOf[resource.DeviceTaintRule](c.deps.View, client.Select{}), func(r *resource.DeviceTaintRule) bool {
		return r.Spec.Taint.Effect != resource.DeviceTaintEffectNoExecute
	})
}

// onRule wakes a rule that has something else to say, and who uses devices that it selects, or did.
func (c *Controller) onRule(now, old *resource.DeviceTaintRule, wake func(object.Key)) {
	if old != nil && now.UID == old.UID && equality.Semantic.DeepEqual(now.Spec, old.Spec) {
		if _, stays := client.Lookup[resource.DeviceTaintRule](c.deps.View, object.KeyOf(now)); stays {
			return
		}
	}
	wake(object.KeyOf(now))
	for _, rule := range []*resource.DeviceTaintRule{now, old} {
		if rule != nil && rule.Spec.Taint.Effect == resource.DeviceTaintEffectNoExecute {
			c.users(func(r *resource.DeviceRequestAllocationResult) bool { return selects(rule, r.Driver, r.Pool, r.Device) }, wake)
		}
	}
}

// count remembers that a pod went because of these rules.
func (c *Controller) count(rules []*resource.DeviceTaintRule) {
	c.mu.Lock()
	for _, r := range rules {
		c.evicted[r.UID]++
	}
	c.mu.Unlock()
	for _, r := range rules {
		c.loop.Add(object.KeyOf(r))
	}
}

// tell keeps the condition EvictionInProgress of a rule.
func (c *Controller) tell(ctx context.Context, key object.Key) (control.Again, error) {
	rule, ok := client.Lookup[resource.DeviceTaintRule](c.deps.View, key)
	if !ok {
		c.forget()
		return control.Done, nil
	}
	now := time.Now()
	i := slices.IndexFunc(rule.Status.Conditions, func(have metav1.Condition) bool { return have.Type == resource.DeviceTaintConditionEvictionInProgress })
	var old metav1.Condition
	if i >= 0 {
		old = rule.Status.Conditions[i]
		if old.ObservedGeneration == rule.Generation {
			if rule.Spec.Taint.Effect == resource.DeviceTaintEffectNone { // what would be is said once
				return control.Done, nil
			}
			if at := old.LastTransitionTime.Add(tellEvery); now.Before(at) {
				return control.Until(at, now), nil
			}
		}
	}
	next := condition(rule, c.survey(rule))
	next.LastTransitionTime = old.LastTransitionTime
	if next == old {
		return control.Done, nil
	}
	next.LastTransitionTime = metav1.NewTime(now)
	n := object.Clone(rule)
	if i >= 0 {
		n.Status.Conditions[i] = next
	} else {
		n.Status.Conditions = append(n.Status.Conditions, next)
	}
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Status, Object: n}})
}

// forget drops the counts of rules that are no more.
func (c *Controller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.evicted) == 0 {
		return
	}
	rules := client.ListOf[resource.DeviceTaintRule](c.deps.View, client.Select{})
	for uid := range c.evicted {
		if !slices.ContainsFunc(rules, func(r *resource.DeviceTaintRule) bool { return r.UID == uid }) {
			delete(c.evicted, uid)
		}
	}
}

// survey is what a rule does, or would do.
type survey struct {
	published, allocated int // devices
	pods, namespaces     int // that have to go, and where they are
	evicted              int
}

// survey counts what there is to count for the effect of a rule.
func (c *Controller) survey(rule *resource.DeviceTaintRule) (s survey) {
	c.mu.Lock()
	s.evicted = c.evicted[rule.UID]
	c.mu.Unlock()
	switch rule.Spec.Taint.Effect {
	case resource.DeviceTaintEffectNone:
		rule = object.Clone(rule)
		rule.Spec.Taint.Effect = resource.DeviceTaintEffectNoExecute
		s.published, s.allocated = c.devices(rule)
	case resource.DeviceTaintEffectNoExecute:
	default:
		return s
	}
	in := map[string]bool{}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{}) {
		claims := len(p.Spec.ResourceClaims) > 0 || p.Status.ExtendedResourceClaimStatus != nil
		if claims && p.DeletionTimestamp == nil && p.Spec.NodeName != "" && c.verdict(p, []*resource.DeviceTaintRule{rule}).rules != nil {
			s.pods++
			in[p.Namespace] = true
		}
	}
	s.namespaces = len(in)
	return s
}

// devices counts those that a rule selects: in the newest state of their pools, and in allocations.
func (c *Controller) devices(rule *resource.DeviceTaintRule) (published, allocated int) {
	type pool struct{ driver, name string }
	newest := map[pool]int64{}
	list := client.ListOf[resource.ResourceSlice](c.deps.View, client.Select{})
	for _, s := range list {
		at := pool{s.Spec.Driver, s.Spec.Pool.Name}
		newest[at] = max(newest[at], s.Spec.Pool.Generation)
	}
	for _, s := range list {
		if s.Spec.Pool.Generation != newest[pool{s.Spec.Driver, s.Spec.Pool.Name}] {
			continue
		}
		for i := range s.Spec.Devices {
			if selects(rule, s.Spec.Driver, s.Spec.Pool.Name, s.Spec.Devices[i].Name) {
				published++
			}
		}
	}
	for _, claim := range client.ListOf[resource.ResourceClaim](c.deps.View, client.Select{}) {
		if a := claim.Status.Allocation; a != nil {
			for i := range a.Devices.Results {
				if r := &a.Devices.Results[i]; selects(rule, r.Driver, r.Pool, r.Device) {
					allocated++
				}
			}
		}
	}
	return published, allocated
}

// condition says it, in upstream's words. It has no time.
func condition(rule *resource.DeviceTaintRule, s survey) metav1.Condition {
	out := metav1.Condition{
		Type: resource.DeviceTaintConditionEvictionInProgress, Status: metav1.ConditionFalse, ObservedGeneration: rule.Generation,
	}
	some := func(n int, one, more string) string {
		if n == 1 {
			return one
		}
		return fmt.Sprintf(more, n)
	}
	var said []string
	switch rule.Spec.Taint.Effect {
	case resource.DeviceTaintEffectNoExecute:
		switch {
		case s.pods > 0:
			out.Status, out.Reason = metav1.ConditionTrue, "PodsPendingEviction"
			said = append(said, some(s.pods, "1 pod needs", "%d pods need")+" to be evicted in "+some(s.namespaces, "1 namespace.", "%d different namespaces."))
		case s.evicted > 0:
			out.Reason = "Completed"
		default:
			out.Reason = "NotStarted"
		}
	case resource.DeviceTaintEffectNone:
		out.Reason = "NoEffect"
		said = append(said, some(s.published, "1 published device selected.", "%d published devices selected."),
			some(s.allocated, "1 allocated device selected.", "%d allocated devices selected."),
			some(s.pods, "1 pod", "%d pods")+" would be evicted in "+some(s.namespaces, "1 namespace", "%d different namespaces")+
				" if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.")
	default:
		out.Reason = "OtherEffect"
		said = append(said, "Eviction only happens for the NoExecute effect.")
	}
	if s.evicted > 0 {
		said = append(said, some(s.evicted, "1 pod", "%d pods")+" evicted since starting the controller.")
	}
	out.Message = strings.Join(said, " ")
	return out
}
