package pod

import (
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/probe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// State is all that next decides from.
type State struct {
	Pod     *core.Pod
	Gone    bool // the API has no such pod (any more): it has to go, whatever its spec says
	Runtime observe.Pod
	Now     time.Time
	Since   time.Time // status.startTime

	Asks    bool      // for what it may have for itself of the node, and has not been given it yet
	Volumes bool      // made
	Stale   time.Time // when they have to be brought up to date; zero: nothing is known to change
	Busy    Busy      // what is under way

	Reset   bool                   // all containers are on their way out, to start anew
	Restart map[string]bool        // by container id: it has to be started anew, for other resources
	Probes  map[string]probe.State // by container id
	Back    map[string]BackOff     // by container name
	Failed  map[string]Failure     // the last start of a container that did not succeed, by name; key "" is the sandbox or the volumes
	End     *End                   // set once it was decided that the pod ends
	Cleaned Cleanup                // how far that has come
}

// Busy are the steps under way.
type Busy struct {
	Admit, Volumes, Sandbox, Resize, Cleanup bool
	Start                                    map[string]bool  // by container name
	Kill                                     map[string]int64 // by container id: the grace that it was given, in seconds
	Remove                                   map[string]bool  // by container id
}

func (b *Busy) any() bool {
	return b.Admit || b.Sandbox || b.Resize || b.Cleanup || len(b.Start) > 0 || len(b.Kill) > 0
}

// Failure is a step that failed and when to try again.
type Failure struct {
	status.Reason
	At, Retry time.Time
	Tries     int
	Image     string // set if the image could not be had
}

// End says why a pod ends, since when, and how much time it has.
type End struct {
	Why   *status.Reason // the pod fails for this reason; nil: its containers say how it ended
	Since time.Time
	Grace int64 // seconds

	Condition *core.PodCondition // to be shown beside it; nil is none
}

// Cleanup says how much of a pod's traces are away.
type Cleanup int

// The steps of a cleanup.
const (
	Nothing Cleanup = iota
	Stopped         // sandbox stopped, volumes unmounted; containers and logs are left to be read
	Removed         // nothing is left
)

// Plan is what to do now. Steps that are under way already are not in it.
type Plan struct {
	Cancel  bool // stop what tries to start
	Admit   bool
	Volumes bool
	Sandbox bool
	Start   []string
	Kill    []Kill
	Remove  []string // ids of old containers
	Purge   []string // ids of containers to remove so that all start anew; their logs stay
	Reset   bool     // that is under way
	Drop    []string // ids of old sandboxes, which hold no container any more
	Cleanup Cleanup  // to come to this
	End     *End
	Finish  bool // nothing is left: the last status may be told and the object removed
	Waiting map[string]status.Reason
	Wake    time.Time // zero: only when something happens
}

// Kill is one container to stop.
type Kill struct {
	ID, Name string
	Message  string // of the event
	Grace    int64  // seconds, the preStop hook included
	Changed  bool   // it is killed to start again as the pod says now
}

func (p *Plan) wake(at time.Time) {
	if p.Wake.IsZero() || at.Before(p.Wake) {
		p.Wake = at
	}
}

// BackOff delays restarts of a container that keeps ending: not at all after its first end, then 10 s, doubling to Deps.MaxBackOff; forgotten
// after 10 min without a restart, and when the container's image changes.
type BackOff struct {
	Hash  string
	Delay time.Duration
	At    time.Time // when Delay was set
}

// What restarts wait, and pulls of images that failed.
const (
	backOffMin   = 10 * time.Second
	backOffMax   = 5 * time.Minute
	backOffReset = 10 * time.Minute
)

// until is when a container that ended at finished may start again.
func (b BackOff) until(finished time.Time, hash string) time.Time {
	if b.Delay == 0 || b.Hash != hash || finished.Sub(b.At) > backOffReset {
		return finished
	}
	return finished.Add(b.Delay)
}

// next is the back-off after a restart at now. most is what it may be.
func (b BackOff) next(finished time.Time, hash string, now time.Time, most time.Duration) BackOff {
	if b.Delay == 0 || b.Hash != hash || finished.Sub(b.At) > backOffReset {
		return BackOff{hash, min(backOffMin, most), now}
	}
	return BackOff{hash, min(b.Delay*2, most), now}
}

// grace is how long the pod's containers have to end by themselves.
func grace(pod *core.Pod) int64 {
	if s := pod.DeletionGracePeriodSeconds; s != nil && pod.DeletionTimestamp != nil {
		return *s
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return *s
	}
	return 30
}

func phaseIsFinal(p core.PodPhase) bool { return p == core.PodFailed || p == core.PodSucceeded }

// shouldRun says whether a container that is not running has to be started (again).
func shouldRun(s *State, c *core.Container, o *observe.Container) bool {
	switch {
	case o == nil, o.State != observe.Exited, s.Restart[o.ID]:
		return true
	case spec.Sidecar(c), o.Hash != "" && o.Hash != observe.Hash(c):
		return true
	}
	return status.ShouldRestart(s.Pod, c, o.ExitCode)
}
