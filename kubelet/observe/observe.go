package observe

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pod is what the runtime has of one pod. The zero value is "nothing".
type Pod struct {
	Sandboxes  []Sandbox   // newest first
	Containers []Container // newest first
}

// Sandbox is one pod sandbox.
type Sandbox struct {
	ID      string
	Attempt uint32
	Ready   bool
	HostNet bool
	Created time.Time
	IPs     []netip.Addr
}

// State of a container.
type State int

// The states of CRI.
const (
	Created State = iota
	Running
	Exited
	Unknown
)

func (s State) String() string {
	return [...]string{"created", "running", "exited", "unknown"}[s]
}

// Container is one instance of a container; a restart makes a new one.
type Container struct {
	ID        string
	Sandbox   string // the sandbox it was made in; empty if not known
	Name      string
	State     State
	Restarts  int    // how many instances came before it
	Hash      string // of the spec that it was made from
	Image     string // as the pod names it
	ImageRef  string // digest or id
	Created   time.Time
	Started   time.Time // zero: never
	Finished  time.Time
	ExitCode  int32
	Reason    string
	Message   string // why it ended, the termination message included
	LogPath   string // absolute
	User      *core.ContainerUser
	Resources *runtimeapi.LinuxContainerResources // as the runtime has them; nil if it does not say
	Left                                          // what its annotations say
}

// Left is what stays known of a container whose pod is gone from the API.
type Left struct {
	MessagePath   string
	MessagePolicy core.TerminationMessagePolicy
	MessageFile   string // on the host; empty if none is mounted
	Grace         int64  // seconds
	PreStop       *core.LifecycleHandler
}

// Latest is the newest instance of the named container, nil if there is none.
func (p *Pod) Latest(name string) *Container {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// ByID finds an instance, nil if there is none.
func (p *Pod) ByID(id string) *Container {
	for i := range p.Containers {
		if p.Containers[i].ID == id {
			return &p.Containers[i]
		}
	}
	return nil
}

// Sandbox is the newest sandbox if it is ready, nil otherwise.
func (p *Pod) Sandbox() *Sandbox {
	if len(p.Sandboxes) == 0 || !p.Sandboxes[0].Ready {
		return nil
	}
	return &p.Sandboxes[0]
}

// IPs are the addresses of the newest sandbox, ready or not.
func (p *Pod) IPs() []netip.Addr {
	if len(p.Sandboxes) == 0 {
		return nil
	}
	return p.Sandboxes[0].IPs
}

// AnyRunning says whether any container of the pod runs, or may run.
func (p *Pod) AnyRunning() bool {
	return slices.ContainsFunc(p.Containers, func(c Container) bool { return c.State == Running || c.State == Unknown })
}

// SetSandbox adds s or replaces the sandbox of the same id.
func (p *Pod) SetSandbox(s Sandbox) {
	p.Sandboxes = slices.DeleteFunc(p.Sandboxes, func(o Sandbox) bool { return o.ID == s.ID })
	p.Sandboxes = append(p.Sandboxes, s)
	slices.SortStableFunc(p.Sandboxes, func(a, b Sandbox) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Attempt, a.Attempt))
	})
}

// DropSandbox forgets a removed sandbox.
func (p *Pod) DropSandbox(id string) {
	p.Sandboxes = slices.DeleteFunc(p.Sandboxes, func(o Sandbox) bool { return o.ID == id })
}

// SetContainer adds c or replaces the container of the same id.
func (p *Pod) SetContainer(c Container) {
	p.Containers = slices.DeleteFunc(p.Containers, func(o Container) bool { return o.ID == c.ID })
	p.Containers = append(p.Containers, c)
	slices.SortStableFunc(p.Containers, func(a, b Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Restarts, a.Restarts))
	})
}

// DropContainer forgets a removed container.
func (p *Pod) DropContainer(id string) {
	p.Containers = slices.DeleteFunc(p.Containers, func(o Container) bool { return o.ID == id })
}

// OfSandbox reads CRI's status of a sandbox.
func OfSandbox(s *runtimeapi.PodSandboxStatus) Sandbox {
	out := Sandbox{
		ID: s.GetId(), Attempt: s.GetMetadata().GetAttempt(), Created: nano(s.GetCreatedAt()),
		Ready:   s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
		HostNet: s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	add := func(ip string) {
		if a, err := netip.ParseAddr(ip); err == nil {
			out.IPs = append(out.IPs, a)
		}
	}
	add(s.GetNetwork().GetIp())
	for _, ip := range s.GetNetwork().GetAdditionalIps() {
		add(ip.GetIp())
	}
	return out
}

// OfContainer reads CRI's status of a container.
func OfContainer(s *runtimeapi.ContainerStatus) Container {
	c := Container{
		ID: s.GetId(), Name: s.GetMetadata().GetName(), LogPath: s.GetLogPath(),
		Restarts: int(s.GetMetadata().GetAttempt()), Hash: s.GetAnnotations()[hashKey],
		ImageRef: s.GetImageRef(), Created: nano(s.GetCreatedAt()), Started: nano(s.GetStartedAt()),
		Finished: nano(s.GetFinishedAt()), ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
		Left: left(s.GetAnnotations()), Resources: s.GetResources().GetLinux(),
	}
	if n, err := strconv.Atoi(s.GetAnnotations()[restartCountKey]); err == nil {
		c.Restarts = n
	}
	c.Image = cmp.Or(s.GetImage().GetUserSpecifiedImage(), s.GetImage().GetImage())
	switch s.GetState() {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		c.State = Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		c.State = Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		c.State = Exited
	default:
		c.State = Unknown
	}
	for _, m := range s.GetMounts() {
		if m.GetContainerPath() == c.MessagePath && c.MessagePath != "" {
			c.MessageFile = m.GetHostPath()
		}
	}
	if u := s.GetUser().GetLinux(); u != nil {
		c.User = &core.ContainerUser{Linux: &core.LinuxContainerUser{
			UID: u.GetUid(), GID: u.GetGid(), SupplementalGroups: u.GetSupplementalGroups(),
		}}
	}
	return c
}

func left(a map[string]string) Left {
	l := Left{MessagePath: a[messagePathKey], MessagePolicy: defaultMessagePolicy, Grace: defaultGracePeriod}
	if p := a[messagePolicyKey]; p != "" {
		l.MessagePolicy = core.TerminationMessagePolicy(p)
	}
	for _, k := range []string{deletionGraceKey, terminationGraceKey} {
		if n, err := strconv.ParseInt(a[k], 10, 64); err == nil {
			l.Grace = n
			break
		}
	}
	if s := a[preStopHandlerKey]; s != "" {
		h := &core.LifecycleHandler{}
		if json.Unmarshal([]byte(s), h) == nil { // what an older version wrote differently counts as no hook
			l.PreStop = h
		}
	}
	return l
}

// Identity names the pod that a sandbox or container with these labels belongs to; ok is false if it is not a kubelet's.
func Identity(labels map[string]string) (uid types.UID, namespace, name string, ok bool) {
	uid, namespace, name = types.UID(labels[PodUID]), labels[PodNamespace], labels[PodName]
	return uid, namespace, name, uid != "" && name != ""
}

func nano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
