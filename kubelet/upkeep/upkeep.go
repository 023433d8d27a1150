package upkeep

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"proa.dev/kit/run"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/evict"
	"proa.dev/kubelet/imagegc"
	"proa.dev/kubelet/logs"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/qos"
	"proa.dev/kubelet/shutdown"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/stats"
	"proa.dev/kubelet/status"
)

// Eviction is how evictions are configured, Shutdown how long pods have when the machine goes down, ImageGC when images go, Logs how large
// containers' logs grow.
type (
	Logs     = logs.Bounds
	Eviction = evict.Config
	Shutdown = shutdown.Config
	ImageGC  = imagegc.Policy
)

// Groups writes cgroups.
type Groups = qos.Groups

// Deps are what an Upkeep needs.
type Deps struct {
	Runtime  cri.Runtime
	Images   cri.Images
	Spec     *spec.Node
	Eviction Eviction
	Shutdown Shutdown
	ImageGC  ImageGC
	Logs     Logs
	Node     func() *core.Node // this node's object; nil before it is registered
	Changed  func()            // the node's conditions are others now
	Groups   Groups            // nil: nobody writes the cgroups above pods
	Capacity core.ResourceList // of the machine
	Reserved core.ResourceList // of it, kept from pods
	Volume   func(pod *core.Pod, v *core.Volume) (path string, ok bool)
	Fill     func(pod *core.Pod, v *core.Volume) *statsapi.FsStats // nil: nobody says
	Events   evict.Recorder
	Log      *slog.Logger
}

// Upkeep is asked for the node's conditions from the beginning; it begins to work with Components.
type Upkeep struct {
	Deps
	images *imagegc.Collector
	evict  *evict.Evictor
	qos    *qos.Keeper // nil without Groups
	end    *shutdown.Manager
	disk   string // a directory on the file system of images; "" while it is not known

	pods  atomic.Pointer[pod.Workers]
	stats *stats.Collector // made by Components
}

// New fails for a configuration that can not be.
func New(d Deps) (*Upkeep, error) {
	u := &Upkeep{Deps: d, images: imagegc.New(d.Runtime, d.Images, d.ImageGC, d.Log)}
	var err error
	u.evict, err = evict.New(evict.Deps{
		Config: d.Eviction, Machine: evict.Machine{Root: d.Spec.Root, Images: func() string { return u.disk }}, Node: d.Node,
		Pods: late{u}, Stats: late{u}, Reclaim: u.images.Free, Changed: d.Changed, Events: d.Events, Log: d.Log,
	})
	if d.Groups != nil {
		u.qos = qos.New(d.Groups, d.Spec, qos.Without(d.Capacity, d.Reserved), !d.Reserved.Memory().IsZero(), late{u}.Active, d.Log)
	}
	u.end = shutdown.New(shutdown.Deps{Config: d.Shutdown, State: filepath.Join(d.Spec.Root, "graceful_node_shutdown_state"),
		Pods: late{u}, Mounts: u.mounts, Changed: d.Changed, Note: u.note, Log: d.Log})
	return u, err
}

// PodsChanged tells that pods came, went or have other resources. It never blocks.
func (u *Upkeep) PodsChanged() {
	if u.qos != nil {
		u.qos.Changed()
	}
}

// Kept is what pods can not have of a machine with so many bytes of memory and disk.
func (u *Upkeep) Kept(memory, disk int64) core.ResourceList { return u.evict.Kept(memory, disk) }

// Has says whether the node has a condition of pressure.
func (u *Upkeep) Has(c core.NodeConditionType) bool { return u.evict.Has(c) }

// Down is why the node is not ready; "" where none of this is a reason.
func (u *Upkeep) Down() string { return u.end.Down() }

// Refuse says why a new pod may not come to the node; nil: it may.
func (u *Upkeep) Refuse(p *core.Pod) *status.Reason {
	if no := u.evict.Refuse(p); no != nil {
		return no
	}
	return u.end.Refuse(p)
}

// mounts says whether a pod has volumes: their directory goes with the last one.
func (u *Upkeep) mounts(uid types.UID) bool {
	_, err := os.Lstat(filepath.Join(u.Spec.PodDir(uid), "volumes"))
	return err == nil
}

// note tells an event of the node.
func (u *Upkeep) note(message string) {
	if n := u.Node(); n != nil {
		u.Events.Event(n, core.EventTypeNormal, "NodeShutdown", "%s", message)
	}
}

// Stats says what the node and its pods use, after Components.
func (u *Upkeep) Stats() *stats.Collector { return u.stats }

// Components are what has to run for pods.
func (u *Upkeep) Components(ctx context.Context, pods *pod.Workers) []run.Component {
	u.pods.Store(pods)
	u.images.Left = pods.Puller().Prune
	u.stats = stats.New(stats.Deps{Runtime: u.Runtime, Images: u.Images, Host: pods, Node: u.Spec, Volume: u.Volume, Fill: u.Fill})
	r, err := u.Images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err == nil && len(r.GetImageFilesystems()) > 0 {
		u.disk = r.GetImageFilesystems()[0].GetFsId().GetMountpoint()
	} else {
		u.Log.Warn("the runtime does not say where images lie: their file system is not watched", "err", err)
	}
	parts := []run.Component{
		{Name: "log rotation", Run: logs.NewRotator(pods, u.Logs, u.Log).Run},
		{Name: "eviction", Run: u.evict.Run},
		{Name: "image collection", Run: u.images.Run},
		{Name: "shutdown of the machine", Run: u.end.Run},
	}
	if u.qos != nil {
		parts = append(parts, run.Component{Name: "cgroups of classes", Run: u.qos.Run})
	}
	return parts
}

// late is what there is once Components was called.
type late struct{ u *Upkeep }

func (l late) Active() []*core.Pod { return l.u.pods.Load().Active() }

func (l late) Evict(uid types.UID, e pod.Eviction) <-chan struct{} {
	return l.u.pods.Load().Evict(uid, e)
}

func (l late) Summary(ctx context.Context, cpuAndMemory bool) (*statsapi.Summary, error) {
	return l.u.stats.Summary(ctx, cpuAndMemory)
}

func (l late) Pod(ctx context.Context, uid types.UID) (*statsapi.PodStats, error) {
	return l.u.stats.Pod(ctx, uid)
}
