package pod

import (
	"context"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// Resources gives pods what of the node they may have for themselves. It is a seam of the kubelet: its calls come from many goroutines, and
// those with a context may ask others and take their time.
type Resources interface {
	// Wants says whether a pod asks for anything of it; only then Admit is called. It is asked for every pod, and quick.
	Wants(*core.Pod) bool
	// Handles says whether Admit, and not the node's object, knows how much there is of a resource.
	Handles(core.ResourceName) bool
	// Admit gives a pod all that it asks for; it may have it already, from an earlier process. An answer that is not nil is why it cannot, and
	// the pod fails.
	Admit(context.Context, *core.Pod) *status.Reason
	// Prepare makes ready what was given, before the pod's sandbox is made. It is tried again after an error.
	Prepare(context.Context, *core.Pod) error
	// Shape completes the configuration of the pod's sandbox.
	Shape(*core.Pod, *runtimeapi.PodSandboxConfig)
	// Add completes the configuration of each instance of a container of any pod.
	Add(context.Context, *core.Pod, *core.Container, *runtimeapi.ContainerConfig) error
	// Fixed is why what a running pod asks for cannot change so; "" is that it can.
	Fixed(before, now *core.Pod) string
	// Place says on which CPUs, and with memory of which NUMA nodes, a container runs now; "" is any. Add has said the same.
	Place(*core.Pod, *core.Container) (cpus, mems string)
	// Release takes back what a pod has, after its containers have ended. It is tried again after an error, and may come more than once.
	Release(context.Context, types.UID) error
	// Keep takes back what other pods than these have.
	Keep(live func(types.UID) bool)
	// Statuses tells how that is what a container was given.
	Statuses(pod *core.Pod, container string) []core.ResourceStatus
}

// Host is what Resources knows of those who run the pods.
type Host interface {
	Touch(types.UID) // look at the pod again: its status may have changed
	Repin()          // what Place says of containers may have changed
	Pods() []*core.Pod
}

// admit asks for what the pod may have for itself. Nothing of the pod is made before it has it.
func (w *worker) admit(ctx context.Context) {
	w.s.Busy.Admit = true
	pod := w.s.Pod
	var no *status.Reason
	w.step(func() error {
		no = w.Resources.Admit(ctx, pod)
		return nil
	}, func(error) {
		w.s.Busy.Admit = false
		if ctx.Err() != nil {
			return
		}
		w.s.Asks = false
		if no != nil && w.s.End == nil {
			w.refuse(no)
		}
	})
}

// holds says whether a pod may have something prepared for it, so that it is not over before that was taken back.
func (w *worker) holds() bool {
	p := w.s.Pod
	return w.Resources != nil && (len(p.Spec.ResourceClaims) > 0 || p.Status.ExtendedResourceClaimStatus != nil) && w.s.Cleaned < Stopped
}

// prepare makes ready what the pod was given; the error has been told.
func (w *worker) prepare(ctx context.Context, pod *core.Pod) error {
	if w.Resources == nil {
		return nil
	}
	err := w.Resources.Prepare(ctx, pod)
	if err != nil && ctx.Err() == nil {
		w.Events.Event(pod, core.EventTypeWarning, "FailedPrepareDynamicResources", "Failed to prepare dynamic resources: %s", cri.Message(err))
	}
	return err
}

// Repin moves running containers to the CPUs that they may have now.
func (ws *Workers) Repin() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.live {
		w.post(w.repin)
	}
}

func (w *worker) repin() {
	for i := range w.s.Runtime.Containers {
		o := &w.s.Runtime.Containers[i]
		c, _ := spec.FindContainer(w.s.Pod, o.Name)
		if o.State != observe.Running || c == nil || w.s.End != nil {
			continue
		}
		cpus, mems := w.Resources.Place(w.s.Pod, c)
		if cpus == "" || w.pinned[o.ID] == cpus {
			continue
		}
		id, ctx, pod := o.ID, w.starts, w.s.Pod
		w.pinned[id] = cpus
		want := &runtimeapi.LinuxContainerResources{CpusetCpus: cpus, CpusetMems: mems}
		w.step(func() error {
			_, err := w.Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: want})
			return err
		}, func(err error) {
			if err != nil && ctx.Err() == nil && !cri.NotFound(err) {
				delete(w.pinned, id)
				w.Log.Warn("container not moved to its CPUs", "ns", pod.Namespace, "name", pod.Name, "cpus", cpus, "err", err)
			}
		})
	}
}
