package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	grpc "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// A pod's resources may change while it runs (KEP-1287). What the API wants is first allocated, if the node has it, and then made true in
// the cgroups, of the pod and of its containers, or by starting a container anew where its resizePolicy says so. State.Pod is the pod with
// the resources that it was allocated.
//
// After a restart of the process the allocation is read from the pod's status, and what is true from the runtime.

// resizing is where the resources of a pod are on their way to what was allocated.
type resizing struct {
	generation int64 // of the pod whose resources these are
	failed     string
	retry      time.Time
}

// take notes what the API wants of a pod, and of its resources what the node can give. trigger is why it may be more than before.
func (w *worker) take(pod *core.Pod, trigger string) {
	held := w.held.Load()
	if sameResources(held, pod) {
		w.counts.resized.wait(w.pending, "reverted")
		w.s.Pod, w.pending = pod, nil
		w.held.Store(pod)
		w.waits.Store(false)
		return
	}
	if w.s.End != nil {
		w.s.Pod = withResources(pod, held)
		w.held.Store(w.s.Pod)
		return
	}
	no := w.fit(w, pod)
	if no == nil {
		if p := w.pending; p != nil && p.Reason.Reason == core.PodReasonDeferred {
			w.counts.resized.wait(p, "accepted")
			w.counts.resized.accepted.Add([1]string{trigger}, 1)
		}
		w.s.Pod, w.pending = pod, nil
		w.waits.Store(false)
		w.resizing = &resizing{generation: pod.Generation}
		w.Events.Event(pod, core.EventTypeNormal, "ResizeStarted", "Pod resize started: %s", summary(pod, ""))
		return
	}
	w.s.Pod = withResources(pod, held)
	w.held.Store(w.s.Pod)
	w.waits.Store(no.Reason == core.PodReasonDeferred)
	if w.pending == nil || w.pending.Reason.Reason != no.Reason || w.pending.generation != pod.Generation {
		w.Events.Event(pod, core.EventTypeWarning, "Resize"+no.Reason, "Pod resize %s: %s", no.Reason, summary(pod, no.Message))
	}
	since := time.Now()
	if w.pending != nil {
		since = w.pending.since
	}
	w.pending = &pending{Reason: *no, pod: pod, generation: pod.Generation, since: since}
}

// pending is a resize that the node can not do, or not now.
type pending struct {
	status.Reason
	pod        *core.Pod // as the API wants it
	generation int64
	since      time.Time
	counted    bool // it was counted how that ended
}

// stillPending is what an earlier process told of a resize that had to wait; nil: there was none.
func stillPending(pod *core.Pod) *pending {
	for _, c := range pod.Status.Conditions {
		if c.Type == core.PodResizePending && c.Status == core.ConditionTrue {
			return &pending{
				Reason: status.Reason{Reason: c.Reason, Message: c.Message}, pod: pod, generation: pod.Generation, since: c.LastTransitionTime.Time,
			}
		}
	}
	return nil
}

// again tries a resize that had to wait.
func (w *worker) again(trigger string) {
	if w.pending != nil && w.s.End == nil {
		w.take(w.pending.pod, trigger)
	}
}

// fit allocates the pod's resources if the node has them; else it says why not.
func (ws *Workers) fit(w *worker, pod *core.Pod) *status.Reason {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	node := ws.node()
	for _, name := range []core.ResourceName{core.ResourceMemory, core.ResourceCPU} {
		if want, _, have := amounts(name, pod, nil, node); want > have {
			return &status.Reason{Reason: core.PodReasonInfeasible,
				Message: fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, want, have)}
		}
	}
	if ws.Resources != nil {
		if no := ws.Resources.Fixed(w.held.Load(), pod); no != "" {
			ws.counts.resized.refuse(no)
			return &status.Reason{Reason: core.PodReasonInfeasible, Message: no}
		}
	}
	others := ws.others(pod.UID)
	if r := overbooked(pod, others, node); r != "" {
		want, used, have := amounts(core.ResourceName(r), pod, others, node)
		return &status.Reason{Reason: core.PodReasonDeferred,
			Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", r, want, used, have)}
	}
	w.held.Store(pod)
	ws.Changed()
	return nil
}

// freed lets resizes be tried again that wait for others to give something back: those of pods of high priority first. ws.mu is held.
func (ws *Workers) freed(trigger string) {
	var list []*worker
	for _, w := range ws.live {
		if w.waits.Load() {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *worker) int { return int(priority(b.held.Load())) - int(priority(a.held.Load())) })
	for _, w := range list {
		w.post(func() { w.again(trigger) })
	}
}

func priority(p *core.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// change is one container that has other resources than it was allocated.
type change struct {
	id, name   string
	have, want *runtimeapi.LinuxContainerResources
	resources  core.ResourceRequirements
}

// resize makes the allocated resources true, one attempt at a time.
func (w *worker) resize(ctx context.Context) {
	if w.s.Busy.Resize || w.s.End != nil || w.s.Runtime.Sandbox() == nil || w.resizing != nil && w.s.Now.Before(w.resizing.retry) {
		return
	}
	changes, restarts := w.changes()
	want := spec.PodResources(w.Node, w.s.Pod)
	if len(changes) == 0 && sameLimits(w.podGiven, want) {
		if r := w.resizing; r != nil && !restarts {
			w.resizing = nil
			w.Events.Event(w.s.Pod, core.EventTypeNormal, "ResizeCompleted", "Pod resize completed: %s", summary(w.s.Pod, ""))
			w.freed("pod_resized")
		}
		return
	}
	if w.resizing == nil {
		w.resizing = &resizing{generation: w.s.Pod.Generation}
	}
	w.s.Busy.Resize = true
	box, have, pod, began := w.s.Runtime.Sandboxes[0].ID, w.podGiven, w.s.Pod, w.s.Now
	w.step(func() error { return w.actuate(ctx, box, have, want, changes) }, func(err error) {
		w.counts.resized.did(began, err)
		w.s.Busy.Resize = false
		for _, c := range changes {
			w.unread[c.id] = true
		}
		if err == nil {
			w.podGiven = want
			for _, c := range changes {
				w.applied[c.id] = c.resources
			}
			return
		}
		if ctx.Err() != nil || w.resizing == nil {
			return
		}
		message := cri.Message(err)
		if w.resizing.failed != message {
			w.Events.Event(pod, core.EventTypeWarning, "ResizeError", "Pod resize error: %s", summary(pod, message))
		}
		w.resizing.failed, w.resizing.retry = message, time.Now().Add(retryStep)
	})
}

// changes are the running containers whose resources are to be changed in place. Those that have to be started anew for it are marked
// for that; restarts says whether there are any.
func (w *worker) changes() (list []change, restarts bool) {
	for i := range w.s.Runtime.Containers {
		o := &w.s.Runtime.Containers[i]
		c, _ := spec.FindContainer(w.s.Pod, o.Name)
		if o.State != observe.Running || c == nil || o.Resources == nil || w.s.Busy.Start[o.Name] {
			continue
		}
		want := spec.Resources(w.Node, w.s.Pod, c)
		if needsRestart(c, w.appliedTo(o.ID), o.Resources, want) {
			w.s.Restart[o.ID] = true
			restarts = true
			continue
		}
		if sameLimits(o.Resources, want) { // requests, and limits that are too small to tell apart, are true at once
			delete(w.s.Restart, o.ID)
			w.applied[o.ID] = c.Resources
			continue
		}
		list = append(list, change{o.ID, o.Name, o.Resources, want, c.Resources})
	}
	return list, restarts
}

// needsRestart says whether a container has to be started anew for what it shall have. had is what it has in the API's words, which tells
// requests apart that look the same in a cgroup; nil if that is not known.
func needsRestart(c *core.Container, had *core.ResourceRequirements, have, want *runtimeapi.LinuxContainerResources) bool {
	for _, p := range c.ResizePolicy {
		changed := have.GetMemoryLimitInBytes() != want.GetMemoryLimitInBytes()
		if p.ResourceName == core.ResourceCPU {
			changed = have.GetCpuShares() != want.GetCpuShares() || !sameQuota(have, want)
		}
		if had != nil {
			was, now := had.Requests[p.ResourceName], c.Resources.Requests[p.ResourceName]
			changed = changed || was.Cmp(now) != 0
		}
		if changed && p.RestartPolicy == core.RestartContainer {
			return true
		}
	}
	return false
}

// sameLimits compares what a resize can change. Requests of memory reach no cgroup.
func sameLimits(a, b *runtimeapi.LinuxContainerResources) bool {
	return a != nil && b != nil && a.GetCpuShares() == b.GetCpuShares() && sameQuota(a, b) && a.GetMemoryLimitInBytes() == b.GetMemoryLimitInBytes()
}

func sameQuota(a, b *runtimeapi.LinuxContainerResources) bool {
	return max(a.GetCpuQuota(), 0) == max(b.GetCpuQuota(), 0) // none is 0 or -1
}

// actuate changes the cgroups so that at no moment the pod's is too small for what its containers may use. have is nil if it is not known
// what the pod has.
func (w *worker) actuate(ctx context.Context, box string, have, want *runtimeapi.LinuxContainerResources, list []change) error {
	if err := w.roomToShrink(ctx, list); err != nil {
		return err
	}
	if wide := wider(have, want); wide != nil && !sameLimits(wide, have) {
		if err := w.resizePod(ctx, box, wide); err != nil {
			return err
		}
	}
	for _, c := range list {
		_, err := w.Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: c.want})
		if err != nil && !cri.NotFound(err) { // it ended meanwhile: the next one gets them
			return err
		}
	}
	return w.resizePod(ctx, box, want)
}

func (w *worker) resizePod(ctx context.Context, box string, r *runtimeapi.LinuxContainerResources) error {
	_, err := w.Runtime.UpdatePodSandboxResources(ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: box, Resources: r})
	if grpc.Code(err) == codes.Unimplemented { // the runtime holds the pod as a whole to nothing
		return nil
	}
	return err
}

// wider allows what either allows.
func wider(a, b *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	if a == nil {
		return nil
	}
	out := proto.Clone(b).(*runtimeapi.LinuxContainerResources)
	out.CpuShares = max(a.CpuShares, b.CpuShares)
	if out.CpuQuota = max(a.CpuQuota, b.CpuQuota); a.CpuQuota <= 0 || b.CpuQuota <= 0 {
		out.CpuQuota = min(a.CpuQuota, b.CpuQuota)
	}
	if out.MemoryLimitInBytes = max(a.MemoryLimitInBytes, b.MemoryLimitInBytes); a.MemoryLimitInBytes <= 0 || b.MemoryLimitInBytes <= 0 {
		out.MemoryLimitInBytes = min(a.MemoryLimitInBytes, b.MemoryLimitInBytes)
	}
	return out
}

// roomToShrink refuses limits of memory below what is in use: the kernel would kill.
func (w *worker) roomToShrink(ctx context.Context, list []change) error {
	var bad []string
	for _, c := range list {
		limit := c.want.GetMemoryLimitInBytes()
		if limit <= 0 || c.have.GetMemoryLimitInBytes() > 0 && c.have.GetMemoryLimitInBytes() <= limit {
			continue
		}
		r, err := w.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{Id: c.id}})
		if err != nil {
			return fmt.Errorf("read the memory usage of container %q: %w", c.name, err)
		}
		for _, s := range r.GetStats() {
			if used := s.GetMemory().GetUsageBytes().GetValue(); s.GetAttributes().GetId() == c.id && used >= uint64(limit) {
				bad = append(bad, fmt.Sprintf("attempting to set container %q memory limit (%d) below current usage (%d)", c.name, limit, used))
			}
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s", strings.Join(bad, ", "))
	}
	return nil
}

// conditions tell how far a resize is.
func (w *worker) resizeConditions() []core.PodCondition {
	var out []core.PodCondition
	if p := w.pending; p != nil {
		out = append(out, core.PodCondition{Type: core.PodResizePending, Status: core.ConditionTrue, Reason: p.Reason.Reason, Message: p.Message})
	}
	if r := w.resizing; r != nil && w.s.End == nil {
		c := core.PodCondition{Type: core.PodResizeInProgress, Status: core.ConditionTrue}
		if r.failed != "" {
			c.Reason, c.Message = core.PodReasonError, r.failed
		}
		out = append(out, c)
	}
	return out
}

// appliedTo is what a running container has, in the API's words; nil: what its pod says.
func (w *worker) appliedTo(id string) *core.ResourceRequirements {
	if r, ok := w.applied[id]; ok {
		return &r
	}
	return nil
}

// summary is how events of resizes name the resources: as Kubernetes' own do, for who reads them by program.
func summary(pod *core.Pod, failed string) string {
	type container struct {
		Name      string                    `json:"name"`
		Resources core.ResourceRequirements `json:"resources"`
	}
	s := struct {
		Init       []container `json:"initContainers,omitempty"`
		Containers []container `json:"containers,omitempty"`
		Generation int64       `json:"generation"`
		Error      string      `json:"error,omitempty"`
	}{Generation: pod.Generation, Error: failed}
	for i := range pod.Spec.InitContainers {
		s.Init = append(s.Init, container{pod.Spec.InitContainers[i].Name, pod.Spec.InitContainers[i].Resources})
	}
	for i := range pod.Spec.Containers {
		s.Containers = append(s.Containers, container{pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Resources})
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// sameResources compares what two versions of a pod ask for.
func sameResources(a, b *core.Pod) bool {
	same := func(x, y []core.Container) bool {
		return slices.EqualFunc(x, y, func(x, y core.Container) bool { return equality.Semantic.DeepEqual(x.Resources, y.Resources) })
	}
	return same(a.Spec.Containers, b.Spec.Containers) && same(a.Spec.InitContainers, b.Spec.InitContainers) &&
		equality.Semantic.DeepEqual(a.Spec.Resources, b.Spec.Resources)
}

// withResources is pod with the resources of from, sharing all else.
func withResources(pod, from *core.Pod) *core.Pod {
	p := *pod
	p.Spec.Resources = from.Spec.Resources
	replace := func(list, by []core.Container) []core.Container {
		list = slices.Clone(list)
		for i := range min(len(list), len(by)) {
			list[i].Resources = by[i].Resources
		}
		return list
	}
	p.Spec.Containers = replace(p.Spec.Containers, from.Spec.Containers)
	p.Spec.InitContainers = replace(p.Spec.InitContainers, from.Spec.InitContainers)
	return &p
}

// allocated is the pod with what an earlier process allocated: what it asks for, unless a resize was pending.
func allocated(pod *core.Pod) *core.Pod {
	if !slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool { return c.Type == core.PodResizePending }) {
		return pod
	}
	p := withResources(pod, pod)
	for _, of := range []struct {
		list     []core.Container
		statuses []core.ContainerStatus
	}{{p.Spec.Containers, pod.Status.ContainerStatuses}, {p.Spec.InitContainers, pod.Status.InitContainerStatuses}} {
		for i := range of.list {
			for _, s := range of.statuses {
				if s.Name == of.list[i].Name && s.AllocatedResources != nil && s.Resources != nil {
					of.list[i].Resources = core.ResourceRequirements{
						Requests: s.AllocatedResources, Limits: s.Resources.Limits, Claims: of.list[i].Resources.Claims,
					}
				}
			}
		}
	}
	if pod.Spec.Resources != nil && pod.Status.Resources != nil {
		p.Spec.Resources = pod.Status.Resources
	}
	return p
}

// firstGiven is what the pod as a whole has when the process takes it over; nil if that is not sure.
func firstGiven(n *spec.Node, pod *core.Pod) *runtimeapi.LinuxContainerResources {
	if slices.ContainsFunc(pod.Status.Conditions, func(c core.PodCondition) bool { return c.Type == core.PodResizeInProgress }) {
		return nil
	}
	return spec.PodResources(n, pod)
}
