package quota

import (
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"

	"proa.dev/object"
)

// Counter measures the objects of one resource.
type Counter struct {
	name  core.ResourceName // count/pods
	alias core.ResourceName // by which older quotas count these objects: secrets; may be empty

	more    func(core.ResourceName) bool                                         // further names that its objects use
	usage   func(o object.Object, now time.Time) core.ResourceList               // nil: one object is one
	inScope func(s core.ScopedResourceSelectorRequirement, o object.Object) bool // nil: in none
	require func(names []core.ResourceName, o object.Object) error               // what an object must say under a quota of these names
	handles func(Change) bool                                                    // nil: creates only
}

// Change is a write that may change what is used.
type Change struct {
	Create   bool // else an update
	Sub      string
	Now, Old object.Object
}

// Ignored says that no quota counts the objects of a resource.
func Ignored(r schema.GroupResource) bool {
	return r.Resource == "events" && (r.Group == "" || r.Group == "events.k8s.io")
}

// For is the counter of a resource.
func For(r schema.GroupResource) *Counter {
	c := &Counter{name: "count/" + core.ResourceName(r.String())}
	switch r {
	case schema.GroupResource{Resource: "pods"}:
		c.alias, c.more, c.usage, c.inScope, c.require, c.handles = core.ResourcePods, ofPods, podUsage, podInScope, podRequire, podHandles
	case schema.GroupResource{Resource: "services"}:
		c.alias, c.more, c.usage, c.handles = core.ResourceServices, ofServices, serviceUsage, anyWrite
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		c.alias, c.more, c.usage, c.inScope, c.handles = core.ResourcePersistentVolumeClaims, ofClaims, claimUsage, claimInScope, claimHandles
	case schema.GroupResource{Resource: "configmaps"}, schema.GroupResource{Resource: "resourcequotas"},
		schema.GroupResource{Resource: "replicationcontrollers"}, schema.GroupResource{Resource: "secrets"}:
		c.alias = core.ResourceName(r.Resource)
	case schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}:
		c.more, c.usage, c.handles = ofDeviceClaims, deviceClaimUsage, anyWrite
	}
	return c
}

// Counts says whether objects of the resource use what a quota limits under this name.
func (c *Counter) Counts(n core.ResourceName) bool {
	return n == c.name || n == c.alias || c.more != nil && c.more(n)
}

// Names is those of hard that objects of the resource use, sorted.
func (c *Counter) Names(hard core.ResourceList) (out []core.ResourceName) {
	for n := range hard {
		if c.Counts(n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Handles says whether a change may use more than before.
func (c *Counter) Handles(ch Change) bool {
	if c.handles != nil {
		return c.handles(ch)
	}
	return ch.Create && ch.Sub == ""
}

// Usage is what an object uses now, by every name that a quota may limit it by.
func (c *Counter) Usage(o object.Object, now time.Time) core.ResourceList {
	if c.usage != nil {
		out := c.usage(o, now)
		out[c.name] = one()
		return out
	}
	out := core.ResourceList{c.name: one()}
	if c.alias != "" {
		out[c.alias] = one()
	}
	return out
}

// Require is what an object lacks to be counted under these names, in Kubernetes' words.
func (c *Counter) Require(names []core.ResourceName, o object.Object) error {
	if c.require == nil {
		return nil
	}
	return c.require(names, o)
}

// InScope says whether an object is in all scopes of a quota. A quota without scopes has everything in it.
func (c *Counter) InScope(q *core.ResourceQuotaSpec, o object.Object) bool {
	in := func(s core.ScopedResourceSelectorRequirement) bool { return c.inScope != nil && c.inScope(s, o) }
	for _, s := range q.Scopes {
		if !in(core.ScopedResourceSelectorRequirement{ScopeName: s, Operator: core.ScopeSelectorOpExists}) {
			return false
		}
	}
	if q.ScopeSelector == nil {
		return true
	}
	for _, s := range q.ScopeSelector.MatchExpressions {
		if !in(s) {
			return false
		}
	}
	return true
}

func anyWrite(ch Change) bool { return ch.Sub == "" }

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// selects says whether a scope with operator and values takes in a name; empty: there is none. A requirement that makes no sense takes in
// nothing.
func selects(s core.ScopedResourceSelectorRequirement, name string) bool {
	op, ok := map[core.ScopeSelectorOperator]selection.Operator{
		core.ScopeSelectorOpIn: selection.In, core.ScopeSelectorOpNotIn: selection.NotIn,
		core.ScopeSelectorOpExists: selection.Exists, core.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}[s.Operator]
	if !ok {
		return false
	}
	r, err := labels.NewRequirement(string(s.ScopeName), op, s.Values)
	if err != nil {
		return false
	}
	set := labels.Set{}
	if name != "" {
		set[string(s.ScopeName)] = name
	}
	return r.Matches(set)
}

// lapsed says when an object that is being deleted counts no more although it is still there, and whether that is so now.
func lapsed(o metav1.Object, now time.Time) (at time.Time, is bool) {
	t, grace := o.GetDeletionTimestamp(), o.GetDeletionGracePeriodSeconds()
	if t == nil || grace == nil {
		return time.Time{}, false
	}
	at = t.Add(time.Duration(*grace) * time.Second)
	return at, now.After(at)
}
