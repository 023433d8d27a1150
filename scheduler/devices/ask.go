package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"

	"proa.dev/client"
	"proa.dev/object"
)

// perNode bounds the search on one node.
const perNode = 10 * time.Second

// bindWithin is how long devices may take to be attached to a node (KEP-5007).
const bindWithin = 10 * time.Minute

// Ask is what the claims of one pod mean for its place, at one moment.
type Ask struct {
	// Problem is why the pod fits nowhere, whatever the node.
	Problem string
	// Early says that the Problem is only that claims do not exist yet, of which nobody has to be told.
	Early bool

	state     *State
	pod       *core.Pod
	claims    []*asked
	resources []core.ResourceName // extended resources of the pod that a class stands for
	allocator structured.Allocator
	found     map[string]*found // by node
}

// asked is one claim of the pod.
type asked struct {
	claim       *resource.ResourceClaim
	on          *nodeaffinity.NodeSelector // where an allocation can be used; nil: anywhere
	unavailable bool                       // its allocation was of no use on some node
}

// found is what the pod could have on a node.
type found struct {
	results  []resource.AllocationResult // for the claims that have none, in order; the last is for extended resources, if there is any
	extended *extended
}

// Look reads the claims of a pod that Asks.
func (s *State) Look(pod *core.Pod) *Ask {
	a := &Ask{state: s, pod: pod, resources: s.extended(pod), found: map[string]*found{}}
	for i := range pod.Spec.ResourceClaims {
		if !a.add(&pod.Spec.ResourceClaims[i]) {
			return a
		}
	}
	if c := a.leftover(); c != nil { // of an attempt that did not end well
		a.claims = append(a.claims, &asked{claim: c, unavailable: true})
		a.Problem = "cannot schedule extended resource claim"
		return a
	}
	a.prepare()
	return a
}

// add takes in one claim, and says whether there is no problem with it.
func (a *Ask) add(c *core.PodResourceClaim) bool {
	name, own, err := resourceclaim.Name(a.pod, c)
	if err != nil {
		a.Problem, a.Early = err.Error(), true
		return false
	}
	if name == nil { // it was found to be needless
		return true
	}
	claim, ok := client.Lookup[resource.ResourceClaim](a.state.view, object.Key{Namespace: a.pod.Namespace, Name: *name})
	switch {
	case !ok:
		a.Problem, a.Early = fmt.Sprintf("resourceclaims.resource.k8s.io %q not found", *name), true
		return false
	case claim.DeletionTimestamp != nil:
		a.Problem = fmt.Sprintf("resourceclaim %q is being deleted", *name)
		return false
	}
	if own {
		if err := resourceclaim.IsForPod(a.pod, claim, false); err != nil {
			a.Problem = err.Error()
			return false
		}
	}
	a.state.settle(time.Now())
	if d := a.state.decided[claim.UID]; d != nil {
		if d.written == 0 {
			a.Problem = fmt.Sprintf("resource claim %s is in the process of being allocated", object.KeyOf(claim))
			return false
		}
		claim = d.claim
	}
	one := &asked{claim: claim}
	if claim.Status.Allocation != nil {
		a.Problem = one.allocated(a.pod)
	} else {
		a.Problem = a.checkClasses(claim)
	}
	a.claims = append(a.claims, one)
	return a.Problem == ""
}

// allocated takes in where the claim's devices can be used.
func (one *asked) allocated(pod *core.Pod) (problem string) {
	if !resourceclaim.CanBeReserved(one.claim) && !resourceclaim.IsReservedForPod(pod, one.claim, false) {
		return "resourceclaim in use"
	}
	if sel := one.claim.Status.Allocation.NodeSelector; sel != nil {
		var err error
		if one.on, err = nodeaffinity.NewNodeSelector(sel); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (a *Ask) checkClasses(claim *resource.ResourceClaim) (problem string) {
	check := func(class, request string) {
		if problem != "" {
			return
		}
		if _, err := (lister{a.state.view}).Get(class); err != nil {
			problem = fmt.Sprintf("request %s: device class %s does not exist", request, class)
		}
	}
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		switch {
		case r.Exactly != nil:
			check(r.Exactly.DeviceClassName, r.Name)
		case len(r.FirstAvailable) > 0:
			for j := range r.FirstAvailable {
				check(r.FirstAvailable[j].DeviceClassName, r.Name+"/"+r.FirstAvailable[j].Name)
			}
		default:
			return fmt.Sprintf("resource claim %s, request %s: unknown request type", object.KeyOf(claim), r.Name)
		}
	}
	return problem
}

// prepare makes the allocator, if anything has to be allocated.
func (a *Ask) prepare() {
	if a.Problem != "" || len(a.resources) == 0 && !slices.ContainsFunc(a.claims, func(c *asked) bool { return c.claim.Status.Allocation == nil }) {
		return
	}
	s := a.state
	if s.cache == nil {
		s.cache = cel.NewCache(compiled, cel.Features{EnableConsumableCapacity: true})
	}
	var err error
	if a.allocator, err = structured.NewAllocator(context.Background(), features, s.taken(), lister{s.view}, s.slices(), s.cache); err != nil {
		a.Problem = err.Error()
	}
}

// ByClass says whether an extended resource that the node does not have may come from claims.
func (a *Ask) ByClass(name core.ResourceName) bool { return slices.Contains(a.resources, name) }

// enough is how many nodes that have what a pod claims are looked for: the search on each takes its time, and the loop waits for it.
const enough = 100

// Try asks whether a node has what the pod claims; the answer is why not, "" if it has.
func (a *Ask) Try(node *core.Node) string {
	delete(a.found, node.Name)
	if len(a.found) >= enough {
		return "enough other node(s) have what is claimed"
	}
	f := &found{}
	var open []*resource.ResourceClaim
	for _, c := range a.claims {
		if c.claim.Status.Allocation == nil {
			open = append(open, c.claim)
			continue
		}
		ready, failed := attached(c.claim)
		if c.on != nil && !c.on.Match(node) || failed != nil || !ready && overdue(c.claim, time.Now()) {
			c.unavailable = true
			return "resourceclaim not available on the node"
		}
	}
	if f.extended = a.extendedOn(node); f.extended != nil {
		open = append(open, f.extended.claim)
	}
	if len(open) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), perNode)
		defer cancel()
		var err error
		f.results, err = a.allocator.Allocate(ctx, node, open)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Sprintf("node %s: timed out trying to allocate devices", node.Name)
		case err != nil && !errors.Is(err, structured.ErrFailedAllocationOnNode):
			a.Problem = err.Error() // wrong with the claim or the class, so on every node
			return a.Problem
		case err != nil:
			return err.Error()
		case len(f.results) != len(open):
			return "cannot allocate all claims"
		}
	}
	a.found[node.Name] = f
	return ""
}

// attached says whether a claim's devices have what they need on the node; an error is that they cannot.
func attached(c *resource.ResourceClaim) (bool, error) {
	if c.Status.Allocation == nil {
		return false, nil
	}
	for i := range c.Status.Allocation.Devices.Results {
		r := &c.Status.Allocation.Devices.Results[i]
		if len(r.BindingConditions) == 0 {
			continue
		}
		at := slices.IndexFunc(c.Status.Devices, func(d resource.AllocatedDeviceStatus) bool {
			return d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device
		})
		if at < 0 {
			return false, nil
		}
		have := c.Status.Devices[at].Conditions
		for _, t := range r.BindingFailureConditions {
			if f := meta.FindStatusCondition(have, t); f != nil && f.Status == metav1.ConditionTrue {
				return false, fmt.Errorf("device binding failed: claim=%s, reason=%s, message=%q", c.Name, f.Reason, f.Message)
			}
		}
		for _, t := range r.BindingConditions {
			if !meta.IsStatusConditionTrue(have, t) {
				return false, nil
			}
		}
	}
	return true, nil
}

func overdue(c *resource.ResourceClaim, now time.Time) bool {
	a := c.Status.Allocation
	return a != nil && a.AllocationTimestamp != nil && now.Sub(a.AllocationTimestamp.Time) > bindWithin
}

// Useless is a claim that holds devices where the pod cannot go, and that nobody else uses; nil if there is none. To free it helps.
func (a *Ask) Useless() *resource.ResourceClaim {
	for _, c := range a.claims {
		users := c.claim.Status.ReservedFor
		if c.unavailable && (len(users) == 0 || len(users) == 1 && users[0].UID == a.pod.UID) {
			return c.claim
		}
	}
	return nil
}

// Decide takes what was found for the node: until Done nobody else can have it. nil: there is nothing to write.
func (a *Ask) Decide(node string) *Decision {
	f := a.found[node]
	if f == nil {
		return nil
	}
	d := &Decision{pod: a.pod, extended: f.extended}
	next := 0
	for _, c := range a.claims {
		w := write{claim: c.claim}
		if c.claim.Status.Allocation == nil {
			w.allocation = &f.results[next]
			next++
			a.state.decide(c.claim, w.allocation)
		}
		if w.allocation != nil || !resourceclaim.IsReservedForPod(a.pod, c.claim, false) || !isAttached(c.claim) {
			d.writes = append(d.writes, w)
		}
	}
	if f.extended != nil {
		d.writes = append(d.writes, write{claim: f.extended.claim, allocation: &f.results[next]})
		a.state.decide(f.extended.claim, &f.results[next])
	}
	if len(d.writes) == 0 {
		return nil
	}
	return d
}

func isAttached(c *resource.ResourceClaim) bool {
	ready, err := attached(c)
	return ready && err == nil
}

func (s *State) decide(c *resource.ResourceClaim, a *resource.AllocationResult) {
	c = object.Clone(c)
	c.Status.Allocation = a
	s.decided[c.UID] = &choice{claim: c}
}

// Done takes in how the writing of a decision went.
func (s *State) Done(d *Decision, err error) {
	now := time.Now()
	for i := range d.writes {
		w := &d.writes[i]
		c := s.decided[w.claim.UID]
		if w.allocation == nil || c == nil {
			continue
		}
		delete(s.decided, w.claim.UID)
		if w.made != nil && w.made.Status.Allocation != nil { // it is in the API, whatever came after
			s.decided[w.made.UID] = &choice{claim: w.made, written: revision(w.made), at: now}
		}
	}
}
