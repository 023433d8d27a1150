package devices

import (
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"

	"proa.dev/client"
	"proa.dev/object"
)

// features are those of Kubernetes 1.37 that are on by default.
var features = structured.Features{
	AdminAccess: true, PrioritizedList: true, PartitionableDevices: true, DeviceTaints: true, DeviceBindingAndStatus: true, ConsumableCapacity: true,
	FractionalCapacityRange: true,
}

// compiled is how many CEL expressions of selectors are kept.
const compiled = 64

// State is what devices there are and which are taken.
type State struct {
	view    client.View
	decided map[types.UID]*choice
	classes map[core.ResourceName]*resource.DeviceClass // by the extended resource that they stand for
	cache   *cel.Cache                                  // nil before it is needed
}

// choice is an allocation that the View may not show yet.
type choice struct {
	claim   *resource.ResourceClaim // with the allocation
	written uint64                  // the revision that has it; 0: it is still under way
	at      time.Time               // when that was known
}

// New makes a State without classes.
func New(view client.View) *State {
	return &State{view: view, decided: map[types.UID]*choice{}, classes: map[core.ResourceName]*resource.DeviceClass{}}
}

// Resources are those whose events matter here.
func Resources() []client.Resource {
	return []client.Resource{
		object.ResourceOf[resource.ResourceClaim](), object.ResourceOf[resource.ResourceSlice](), object.ResourceOf[resource.DeviceClass](),
	}
}

// Classes reads the classes anew, after one has changed.
func (s *State) Classes() {
	clear(s.classes)
	for _, c := range client.ListOf[resource.DeviceClass](s.view, client.Select{}) {
		s.classes[core.ResourceName(resource.ResourceDeviceClassPrefix+c.Name)] = c
		name := c.Spec.ExtendedResourceName
		if name == nil {
			continue
		}
		// Of classes that stand for the same, the newer counts, so that one can move from the one to the other.
		have := s.classes[core.ResourceName(*name)]
		if have == nil || have.CreationTimestamp.Before(&c.CreationTimestamp) {
			s.classes[core.ResourceName(*name)] = c
		}
	}
}

// Asks says whether a pod claims devices, by claims or by extended resources that a class stands for.
func (s *State) Asks(pod *core.Pod) bool {
	if len(pod.Spec.ResourceClaims) > 0 {
		return true
	}
	return len(s.classes) > 0 && len(s.extended(pod)) > 0
}

// taken collects what is allocated.
func (s *State) taken() structured.AllocatedState {
	out := structured.AllocatedState{
		AllocatedDevices: sets.New[structured.DeviceID](), AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity: structured.NewConsumedCapacityCollection(),
	}
	s.settle(time.Now())
	for _, c := range client.ListOf[resource.ResourceClaim](s.view, client.Select{}) {
		if s.decided[c.UID] == nil {
			take(&out, c)
		}
	}
	for _, d := range s.decided {
		take(&out, d.claim)
	}
	return out
}

func take(out *structured.AllocatedState, c *resource.ResourceClaim) {
	if c.Status.Allocation == nil {
		return
	}
	for i := range c.Status.Allocation.Devices.Results {
		r := &c.Status.Allocation.Devices.Results[i]
		id := structured.MakeDeviceID(r.Driver, r.Pool, r.Device)
		switch {
		case r.AdminAccess != nil && *r.AdminAccess: // looks on, takes nothing
		case r.ShareID == nil:
			out.AllocatedDevices.Insert(id)
		default:
			out.AllocatedSharedDeviceIDs.Insert(structured.MakeSharedDeviceID(id, r.ShareID))
			if r.ConsumedCapacity != nil {
				out.AggregatedCapacity.Insert(structured.NewDeviceConsumedCapacity(id, r.ConsumedCapacity))
			}
		}
	}
}

// lag is how long the View may take to show a claim that was just made.
const lag = time.Minute

// settle forgets decisions that the View shows, or that it is beyond.
func (s *State) settle(now time.Time) {
	for uid, d := range s.decided {
		if d.written == 0 {
			continue
		}
		c, ok := client.Lookup[resource.ResourceClaim](s.view, object.KeyOf(d.claim))
		if ok && revision(c) >= d.written || now.Sub(d.at) > lag {
			delete(s.decided, uid)
		}
	}
}

func revision(o object.Object) uint64 {
	n, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// lister gives the allocator device classes.
type lister struct{ view client.View }

// List implements structured.DeviceClassLister.
func (l lister) List() ([]*resource.DeviceClass, error) {
	return client.ListOf[resource.DeviceClass](l.view, client.Select{}), nil
}

// Get implements structured.DeviceClassLister.
func (l lister) Get(name string) (*resource.DeviceClass, error) {
	c, ok := client.Lookup[resource.DeviceClass](l.view, object.Key{Name: name})
	if !ok {
		return nil, apierrors.NewNotFound(object.ResourceOf[resource.DeviceClass]().GroupResource(), name)
	}
	return c, nil
}

// slices are those that there are, with the taints that rules give to their devices.
func (s *State) slices() []*resource.ResourceSlice {
	out := slices.Clone(client.ListOf[resource.ResourceSlice](s.view, client.Select{}))
	for _, r := range client.ListOf[resource.DeviceTaintRule](s.view, client.Select{}) {
		for i := range out {
			out[i] = tainted(out[i], r)
		}
	}
	return out
}

// tainted is a slice with the taint of a rule on what it selects: the same slice where that is nothing.
func tainted(s *resource.ResourceSlice, r *resource.DeviceTaintRule) *resource.ResourceSlice {
	sel := r.Spec.DeviceSelector
	other := func(want *string, have string) bool { return want != nil && *want != have }
	if sel == nil || other(sel.Driver, s.Spec.Driver) || other(sel.Pool, s.Spec.Pool.Name) {
		return s
	}
	out := s
	for i := range s.Spec.Devices {
		if other(sel.Device, s.Spec.Devices[i].Name) {
			continue
		}
		if out == s {
			out = object.Clone(s)
		}
		out.Spec.Devices[i].Taints = append(out.Spec.Devices[i].Taints, r.Spec.Taint)
	}
	return out
}

// extendedName says whether a name could be a resource that a class stands for.
func extendedName(name core.ResourceName) bool {
	n := string(name)
	return strings.HasPrefix(n, resource.ResourceDeviceClassPrefix) || strings.Contains(n, "/") && !strings.Contains(n, core.ResourceDefaultNamespacePrefix)
}
