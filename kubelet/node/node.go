package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/client"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// How often the node shows that it is alive. The times are those that the control plane of any Kubernetes expects.
const (
	leaseDuration = 40 // seconds
	tick          = 10 * time.Second
	reportEvery   = 5 * time.Minute
	imagesEvery   = time.Minute
	maxImages     = 50
)

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
}

// Devices are what others add to the node's capacity.
type Devices interface {
	// Capacity is the sum of them, and what of it can be had; of gone there is nothing any more.
	Capacity() (capacity, allocatable core.ResourceList, gone []core.ResourceName)
	// Changed holds a token after Capacity may have changed.
	Changed() <-chan struct{}
}

// Deps are what a Node needs.
type Deps struct {
	Client   client.Client
	View     client.View
	Runtime  cri.Runtime
	Images   cri.Images
	Events   Recorder
	Spec     *spec.Node
	Machine  Machine
	Devices  Devices           // nil: there are none
	Reserved core.ResourceList // kept from pods
	Labels   map[string]string // set at registration and whenever the node starts
	Taints   []core.Taint      // set at registration only
	Port     int32             // of the node's API
	Version  string            // "v1.37.2"
	// ProviderID names the machine to a cloud; set at registration only.
	ProviderID string
	// Pressure says whether something runs short: MemoryPressure, DiskPressure, PIDPressure.
	Pressure func(core.NodeConditionType) bool
	// Down is another reason than the runtime why the node is not ready; "" is none.
	Down func() string
	Log  *slog.Logger
}

// Node keeps one Node object.
type Node struct {
	Deps
	uid     string // of the object, for the lease's owner
	told    time.Time
	images  []core.ContainerImage
	looked  time.Time
	version string // of the runtime
	kick    chan struct{}
	ready   chan struct{}
	once    sync.Once
	startup startup
}

// New starts nothing.
func New(d Deps) (*Node, error) {
	return &Node{Deps: d, kick: make(chan struct{}, 1), ready: make(chan struct{}), startup: startup{began: time.Now()}}, nil
}

// Ready is closed once the node was registered and told Ready.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Run registers the node and keeps it until ctx ends. It fails only with ctx: an API that is away comes back.
func (n *Node) Run(ctx context.Context) error {
	go n.follow(ctx) // ends with ctx; Run does not wait for it, since it holds nothing
	wait := 100 * time.Millisecond
	var changed <-chan struct{}
	if n.Devices != nil {
		changed = n.Devices.Changed()
	}
	for {
		next := tick
		if err := n.beat(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			n.Log.Warn("node not reported", "node", n.Spec.Name, "err", err)
			next = wait
			wait = min(wait*2, tick)
		} else {
			wait = 100 * time.Millisecond
			if !n.isReady() {
				next = time.Second
			}
		}
		t := time.NewTimer(next)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-n.kick:
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// Kick has the node look at itself now.
func (n *Node) Kick() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *Node) isReady() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// follow wakes Run when somebody deletes the node.
func (n *Node) follow(ctx context.Context) {
	err := client.Watch(ctx, n.View, func(t client.EventType, now, _ *core.Node) {
		gone := t == client.Deleted && now.Name == n.Spec.Name
		if t == client.Synced && n.isReady() { // it may have been deleted before the watch began
			_, there := client.Lookup[core.Node](n.View, object.Key{Name: n.Spec.Name})
			gone = !there
		}
		if gone {
			n.Kick()
		}
	})
	if err != nil && ctx.Err() == nil {
		n.Log.Warn("node not watched", "node", n.Spec.Name, "err", err)
	}
}

// beat makes the object, the status and the lease as they have to be.
func (n *Node) beat(ctx context.Context) error {
	o, err := n.ensure(ctx)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	n.uid = string(o.UID)
	return errors.Join(n.report(ctx, o), n.renew(ctx, o))
}

// ensure registers the node, or brings its labels and addresses of an earlier life up to date.
func (n *Node) ensure(ctx context.Context) (*core.Node, error) {
	key := object.Key{Name: n.Spec.Name}
	o, ok := client.Lookup[core.Node](n.View, key)
	if !ok {
		var err error
		if o, err = client.Get[core.Node](ctx, n.Client, key); apierrors.IsNotFound(err) {
			o, err = n.register(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	missing := false
	for k, v := range n.labels() {
		missing = missing || o.Labels[k] != v
	}
	if !missing || !n.told.IsZero() { // later changes are their maker's business
		return o, nil
	}
	o = object.Clone(o)
	if o.Labels == nil {
		o.Labels = map[string]string{}
	}
	for k, v := range n.labels() {
		o.Labels[k] = v
	}
	return client.Update(ctx, n.Client, o)
}

func (n *Node) register(ctx context.Context) (*core.Node, error) {
	o := &core.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Spec.Name, Labels: n.labels()},
		Spec:       core.NodeSpec{Taints: n.Taints, ProviderID: n.ProviderID},
	}
	n.fill(ctx, o)
	n.Log.Info("node registers", "node", n.Spec.Name)
	n.startup.tries(time.Now())
	made, err := client.Create(ctx, n.Client, o)
	if apierrors.IsAlreadyExists(err) {
		return client.Get[core.Node](ctx, n.Client, object.Key{Name: n.Spec.Name})
	}
	if err == nil {
		n.startup.registers(time.Now())
	}
	return made, err
}

func (n *Node) labels() map[string]string {
	l := map[string]string{
		core.LabelHostname: n.Spec.Name, core.LabelOSStable: runtime.GOOS, core.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
	for k, v := range n.Labels {
		l[k] = v
	}
	return l
}

// report writes the status if it changed, or if the last time is long ago.
func (n *Node) report(ctx context.Context, now *core.Node) error {
	o := object.Clone(now)
	n.fill(ctx, o)
	due := time.Since(n.told) > reportEvery
	if !due && sameStatus(&now.Status, &o.Status) {
		n.announce(o)
		return nil
	}
	o, err := client.UpdateStatus(ctx, n.Client, o)
	if apierrors.IsConflict(err) { // somebody else wrote meanwhile: once more, on the newest
		if o, err = client.Get[core.Node](ctx, n.Client, object.Key{Name: n.Spec.Name}); err != nil {
			return err
		}
		o = object.Clone(o)
		n.fill(ctx, o)
		o, err = client.UpdateStatus(ctx, n.Client, o)
	}
	if err != nil {
		return fmt.Errorf("report the status: %w", err)
	}
	n.told = time.Now()
	n.announce(o)
	return nil
}

func (n *Node) announce(o *core.Node) {
	for _, c := range o.Status.Conditions {
		if c.Type == core.NodeReady && c.Status == core.ConditionTrue {
			n.once.Do(func() {
				n.Log.Info("node is ready", "node", n.Spec.Name)
				n.startup.isReady(time.Now())
				close(n.ready)
			})
		}
	}
}

// sameStatus ignores heartbeats.
func sameStatus(a, b *core.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*core.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}

// fill sets what the kubelet knows in o's status and keeps the rest: resources that others advertise, conditions that others set.
func (n *Node) fill(ctx context.Context, o *core.Node) {
	s := &o.Status
	s.Capacity = overlay(s.Capacity, n.Machine.Capacity())
	s.Allocatable = overlay(s.Allocatable, n.Machine.Allocatable(n.Reserved))
	if n.Devices != nil {
		capacity, allocatable, gone := n.Devices.Capacity()
		for _, name := range gone { // named with nothing, so that one sees that it was there
			s.Capacity[name], s.Allocatable[name] = resource.Quantity{}, resource.Quantity{}
		}
		maps.Copy(s.Capacity, capacity)
		maps.Copy(s.Allocatable, allocatable)
	}
	s.Addresses = nil
	for _, ip := range n.Spec.IPs {
		s.Addresses = append(s.Addresses, core.NodeAddress{Type: core.NodeInternalIP, Address: ip.String()})
	}
	s.Addresses = append(s.Addresses, core.NodeAddress{Type: core.NodeHostName, Address: n.Spec.Name})
	s.DaemonEndpoints.KubeletEndpoint.Port = n.Port
	s.DeclaredFeatures = declared()
	notReady := n.runtimeState(ctx, s)
	if down := n.Down(); down != "" && notReady != "" {
		notReady = "[" + notReady + ", " + down + "]"
	} else if down != "" {
		notReady = down
	}
	s.NodeInfo = info(n.version, n.Version)
	if swap := n.Machine.Swap; swap != 0 {
		s.NodeInfo.Swap = &core.NodeSwapStatus{Capacity: &swap}
	}
	s.Images = n.listImages(ctx)
	n.conditions(s, notReady)
}

func overlay(have, mine core.ResourceList) core.ResourceList {
	out := core.ResourceList{}
	for _, l := range []core.ResourceList{have, mine} {
		for k, v := range l {
			out[k] = v
		}
	}
	return out
}

// runtimeState asks the runtime how it is, and what it can, which goes into s; the answer is why the node is not ready, "" if it is.
func (n *Node) runtimeState(ctx context.Context, s *core.NodeStatus) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if n.version == "" {
		v, err := n.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
		if err != nil {
			return "container runtime is down: " + cri.Message(err)
		}
		n.version = v.GetRuntimeName() + "://" + v.GetRuntimeVersion()
	}
	r, err := n.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return "container runtime is down: " + cri.Message(err)
	}
	s.RuntimeHandlers, s.Features = handlers(r), nil
	if f := r.GetFeatures(); f != nil {
		s.Features = &core.NodeFeatures{SupplementalGroupsPolicy: &f.SupplementalGroupsPolicy}
	}
	for _, c := range r.GetStatus().GetConditions() {
		if !c.GetStatus() {
			what := map[string]string{"RuntimeReady": "container runtime", "NetworkReady": "container runtime network"}[c.GetType()]
			if what != "" {
				return fmt.Sprintf("%s not ready: %s=false reason:%s message:%s", what, c.GetType(), c.GetReason(), c.GetMessage())
			}
		}
	}
	return ""
}

// handlers are those of RuntimeClasses, and what pods with them may ask for.
func handlers(r *runtimeapi.StatusResponse) (out []core.NodeRuntimeHandler) {
	for _, h := range r.GetRuntimeHandlers() {
		out = append(out, core.NodeRuntimeHandler{Name: h.GetName(), Features: &core.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(h.GetFeatures().GetRecursiveReadOnlyMounts()), UserNamespaces: new(h.GetFeatures().GetUserNamespaces()),
		}})
	}
	return out
}

func (n *Node) listImages(ctx context.Context) []core.ContainerImage {
	if time.Since(n.looked) < imagesEvery {
		return n.images
	}
	r, err := n.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return n.images
	}
	n.looked = time.Now()
	n.images = nil
	for _, i := range r.GetImages() {
		names := append(slices.Clone(i.GetRepoDigests()), i.GetRepoTags()...)
		n.images = append(n.images, core.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: int64(i.GetSize())})
	}
	slices.SortStableFunc(n.images, func(a, b core.ContainerImage) int { return int(b.SizeBytes - a.SizeBytes) })
	n.images = n.images[:min(len(n.images), maxImages)]
	return n.images
}

func (n *Node) conditions(s *core.NodeStatus, notReady string) {
	memory, disk, pids := n.Pressure(core.NodeMemoryPressure), n.Pressure(core.NodeDiskPressure), n.Pressure(core.NodePIDPressure)
	n.condition(s, core.NodeMemoryPressure, memory, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available",
		"KubeletHasSufficientMemory", "kubelet has sufficient memory available")
	n.condition(s, core.NodeDiskPressure, disk, "KubeletHasDiskPressure", "kubelet has disk pressure",
		"KubeletHasNoDiskPressure", "kubelet has no disk pressure")
	n.condition(s, core.NodePIDPressure, pids, "KubeletHasInsufficientPID", "kubelet has insufficient PID available",
		"KubeletHasSufficientPID", "kubelet has sufficient PID available")
	n.condition(s, core.NodeReady, notReady == "", "KubeletReady", "kubelet is posting ready status", "KubeletNotReady", notReady)
}

func (n *Node) condition(s *core.NodeStatus, t core.NodeConditionType, is bool, reason, message, elseReason, elseMessage string) {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	c := core.NodeCondition{Type: t, Status: core.ConditionFalse, Reason: elseReason, Message: elseMessage, LastHeartbeatTime: now, LastTransitionTime: now}
	if is {
		c.Status, c.Reason, c.Message = core.ConditionTrue, reason, message
	}
	for i := range s.Conditions {
		if s.Conditions[i].Type != t {
			continue
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		} else if t == core.NodeReady {
			n.readyChanged(is)
		}
		s.Conditions[i] = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

func (n *Node) readyChanged(ready bool) {
	o, ok := client.Lookup[core.Node](n.View, object.Key{Name: n.Spec.Name})
	if !ok {
		return
	}
	reason := "NodeNotReady"
	if ready {
		reason = "NodeReady"
	}
	n.Events.Event(o, core.EventTypeNormal, reason, "Node %s status is now: %s", n.Spec.Name, reason)
}

// renew renews the lease, or takes it for the first time.
func (n *Node) renew(ctx context.Context, o *core.Node) error {
	now := metav1.NewMicroTime(time.Now())
	duration := int32(leaseDuration)
	key := object.Key{Namespace: core.NamespaceNodeLease, Name: n.Spec.Name}
	have, ok := client.Lookup[coordination.Lease](n.View, key)
	var err error
	if !ok {
		have, err = client.Get[coordination.Lease](ctx, n.Client, key)
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("read the lease: %w", err)
		}
	}
	if !ok && err != nil {
		l := &coordination.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: o.Name, UID: o.UID,
			}}},
			Spec: coordination.LeaseSpec{HolderIdentity: &n.Spec.Name, LeaseDurationSeconds: &duration, RenewTime: &now},
		}
		if _, err := client.Create(ctx, n.Client, l); err != nil {
			return fmt.Errorf("take the lease: %w", err)
		}
		return nil
	}
	renewed := func(have *coordination.Lease) *coordination.Lease {
		l := object.Clone(have)
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &n.Spec.Name, &duration, &now
		if len(l.OwnerReferences) == 0 {
			l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: o.Name, UID: o.UID}}
		}
		return l
	}
	_, err = client.Update(ctx, n.Client, renewed(have))
	if apierrors.IsConflict(err) { // the View was behind; the lease is ours alone, whatever stands there
		if have, err = client.Get[coordination.Lease](ctx, n.Client, key); err == nil {
			_, err = client.Update(ctx, n.Client, renewed(have))
		}
	}
	if err != nil {
		return fmt.Errorf("renew the lease: %w", err)
	}
	return nil
}
