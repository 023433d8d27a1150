package pod

import (
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
)

// next decides what the pod needs now.
func next(s *State) Plan {
	p := Plan{Waiting: map[string]status.Reason{}}
	if p.End = ending(s, &p); p.End != nil {
		end(s, &p)
		return p
	}
	if resetAll(s, &p) {
		return p
	}
	advance(s, &p)
	if p.End != nil { // its containers are done
		end(s, &p)
	}
	tidy(s, &p)
	return p
}

// ending says whether the pod has to end for a reason that stands outside its containers.
func ending(s *State, p *Plan) *End {
	pod := s.Pod
	if e := s.End; e != nil {
		if g := grace(pod); (pod.DeletionTimestamp != nil || s.Gone) && g < e.Grace { // a shorter time was asked for meanwhile
			return &End{Why: e.Why, Since: e.Since, Grace: g, Condition: e.Condition}
		}
		return e
	}
	switch {
	case s.Gone, pod.DeletionTimestamp != nil, phaseIsFinal(pod.Status.Phase):
		return &End{Since: s.Now, Grace: grace(pod)}
	case pod.Spec.ActiveDeadlineSeconds != nil && !s.Since.IsZero():
		at := s.Since.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
		if !s.Now.Before(at) {
			return &End{Why: &status.Reason{
				Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline",
			}, Since: s.Now, Grace: grace(pod)}
		}
		p.wake(at)
	}
	return nil
}

// end brings the pod down: the containers, sidecars after the others and the last one first, then the sandbox and volumes; then, if the
// pod is deleted, every trace.
func end(s *State, p *Plan) {
	p.Cancel = len(s.Busy.Start) > 0 || s.Busy.Sandbox || s.Busy.Volumes
	p.Start, p.Sandbox, p.Volumes, p.Admit = nil, false, false, false
	left := remaining(p.End, s.Now)
	running := stopAll(s, p, left)
	if running || s.Busy.any() || s.Busy.Volumes {
		return
	}
	goal := Stopped
	if s.Pod.DeletionTimestamp != nil || s.Gone {
		goal = Removed
	}
	if s.Cleaned < goal {
		if f, ok := s.Failed[""]; ok && s.Now.Before(f.Retry) {
			p.wake(f.Retry)
			return
		}
		p.Cleanup = goal
		return
	}
	p.Finish = goal == Removed
}

// remaining is what is left of the grace period, at least a second's worth of courtesy, unless none was given.
func remaining(e *End, now time.Time) int64 {
	return max(e.Grace-int64(now.Sub(e.Since).Seconds()), 0)
}

// stopAll kills what runs; sidecars wait until everything that was started after them has ended.
func stopAll(s *State, p *Plan, left int64) (running bool) {
	stop := func(c *observe.Container) {
		if c.State != observe.Running && c.State != observe.Unknown {
			return
		}
		running = true
		if g, ok := s.Busy.Kill[c.ID]; ok && g <= left {
			return
		} else if ok && p.End.Grace >= g { // the same order, a moment later
			return
		}
		p.Kill = append(p.Kill, Kill{ID: c.ID, Name: c.Name, Message: "Stopping container " + c.Name, Grace: left})
	}
	order := sidecars(s.Pod)
	for i := range s.Runtime.Containers {
		if c := &s.Runtime.Containers[i]; !slices.Contains(order, c.Name) {
			stop(c)
		}
	}
	if len(s.Busy.Start) > 0 { // one of them may be about to run
		running = true
	}
	for i := len(order) - 1; i >= 0 && (!running || left == 0); i-- {
		for j := range s.Runtime.Containers {
			if c := &s.Runtime.Containers[j]; c.Name == order[i] {
				stop(c)
			}
		}
	}
	if running && left > 0 && len(order) > 0 {
		p.wake(s.Now.Add(time.Duration(left) * time.Second))
	}
	return running || s.Runtime.AnyRunning()
}

func sidecars(pod *core.Pod) []string {
	var names []string
	for i := range pod.Spec.InitContainers {
		if spec.Sidecar(&pod.Spec.InitContainers[i]) {
			names = append(names, pod.Spec.InitContainers[i].Name)
		}
	}
	return names
}

// advance takes the next steps of a pod that shall run.
func advance(s *State, p *Plan) {
	if s.Asks {
		p.Admit = !s.Busy.Admit
		return
	}
	held := false
	if f, ok := s.Failed[""]; ok && s.Now.Before(f.Retry) {
		held = true
		p.wake(f.Retry)
	}
	switch {
	case s.Busy.Volumes:
	case !s.Volumes:
		p.Volumes = !held
	case s.Stale.IsZero():
	case s.Now.Before(s.Stale):
		p.wake(s.Stale)
	default:
		p.Volumes = true
	}
	if s.Runtime.Sandbox() == nil {
		if done := sandboxLost(s); done {
			p.End = &End{Since: s.Now, Grace: grace(s.Pod)}
			return
		}
		p.Sandbox = !s.Busy.Sandbox && !held
		return
	}
	if !s.Volumes {
		return
	}
	for i := range s.Pod.Spec.EphemeralContainers {
		c := spec.Ephemeral(&s.Pod.Spec.EphemeralContainers[i])
		if s.Runtime.Latest(c.Name) == nil {
			start(s, p, c, nil)
		}
	}
	if initialise(s, p) && p.End == nil {
		run(s, p)
	}
}

// sandboxLost says whether a pod whose sandbox is gone is done with, since its containers have run and may not run again.
func sandboxLost(s *State) bool {
	if len(s.Runtime.Containers) == 0 {
		return false
	}
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		o := s.Runtime.Latest(c.Name)
		if o == nil && s.Pod.Spec.RestartPolicy != core.RestartPolicyNever {
			return false
		}
		if o != nil && (o.State != observe.Exited || shouldRun(s, c, o)) && s.Pod.Spec.RestartPolicy != core.RestartPolicyNever {
			return false
		}
	}
	return true
}

// inSandbox is the newest instance of a container, if it lives in the current sandbox.
func inSandbox(s *State, name string) *observe.Container {
	o := s.Runtime.Latest(name)
	if o == nil || o.Sandbox != "" && o.Sandbox != s.Runtime.Sandboxes[0].ID {
		return nil
	}
	return o
}

// initialise takes the init containers one after the other and says whether all are through.
func initialise(s *State, p *Plan) bool {
	before := false // containers have run already: only sidecars matter
	for i := range s.Pod.Spec.Containers {
		o := inSandbox(s, s.Pod.Spec.Containers[i].Name)
		before = before || o != nil
	}
	last := -1 // the last init container that there is: those before it are through, even if they were removed
	for i := range s.Pod.Spec.InitContainers {
		if inSandbox(s, s.Pod.Spec.InitContainers[i].Name) != nil {
			last = i
		}
	}
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		o := inSandbox(s, c.Name)
		if spec.Sidecar(c) {
			if up := keep(s, p, c, o); !up && !before {
				return false
			}
			continue
		}
		switch {
		case before, o == nil && i < last:
		case s.Busy.Start[c.Name]:
			return false
		case o != nil && o.State == observe.Running:
			return false
		case o != nil && o.State == observe.Exited && o.ExitCode == 0:
		case o != nil && o.State == observe.Exited && !status.ShouldRestart(s.Pod, c, o.ExitCode):
			p.End = &End{Since: s.Now, Grace: grace(s.Pod)}
			return false
		default:
			start(s, p, c, o)
			return false
		}
	}
	return true
}

// run looks after the pod's containers proper.
func run(s *State, p *Plan) {
	alive := false
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		o := s.Runtime.Latest(c.Name)
		if o != nil && o.State == observe.Running && inSandbox(s, c.Name) == nil { // of a sandbox that is no more
			o = nil
		}
		if s.Busy.Start[c.Name] || o != nil && o.State == observe.Running || shouldRun(s, c, o) {
			alive = true
			keep(s, p, c, o)
		}
	}
	if !alive {
		p.Start = nil
		p.End = &End{Since: s.Now, Grace: grace(s.Pod)}
	}
}

// keep makes a container run, or run again if it has to, and says whether it is up: it runs and its startup probe succeeded.
func keep(s *State, p *Plan, c *core.Container, o *observe.Container) bool {
	if o == nil || o.State != observe.Running {
		start(s, p, c, o)
		return false
	}
	probed := s.Probes[o.ID]
	kill := func(why string, g int64) {
		if _, busy := s.Busy.Kill[o.ID]; busy {
			return
		}
		message := fmt.Sprintf("Container %s %s", c.Name, why)
		if spec.Sidecar(c) || s.Pod.Spec.RestartPolicy != core.RestartPolicyNever {
			message += ", will be restarted"
		}
		p.Kill = append(p.Kill, Kill{ID: o.ID, Name: c.Name, Message: message, Grace: g})
	}
	switch g := grace(s.Pod); {
	case o.Hash != "" && o.Hash != observe.Hash(c):
		kill("definition changed", g)
		if n := len(p.Kill); n > 0 && p.Kill[n-1].ID == o.ID {
			p.Kill[n-1].Changed = true
		}
	case s.Restart[o.ID]:
		kill("resize requires restart", g)
	case probed.Failed != nil:
		if probed.Failed.Grace != nil {
			g = *probed.Failed.Grace
		}
		kill("failed "+probed.Failed.Probe+" probe", g)
	}
	return !s.Busy.Start[c.Name] && probed.Started && probed.Failed == nil
}

// start plans the start of a container, or says why it has to wait. o is its last instance.
func start(s *State, p *Plan, c *core.Container, o *observe.Container) {
	if s.Busy.Start[c.Name] {
		return
	}
	if o != nil {
		if _, busy := s.Busy.Kill[o.ID]; busy {
			return
		}
	}
	if at, waits := waitsForReset(s, c, o); waits {
		p.Waiting[c.Name] = backingOff(s, c, s.Back[resetBack].Delay)
		p.wake(at)
		return
	}
	if o != nil && o.State == observe.Exited {
		at := s.Back[c.Name].until(o.Finished, observe.Hash(c))
		if s.Now.Before(at) {
			p.Waiting[c.Name] = backingOff(s, c, s.Back[c.Name].Delay)
			p.wake(at)
			return
		}
	}
	if f, ok := s.Failed[c.Name]; ok && s.Now.Before(f.Retry) {
		p.Waiting[c.Name] = f.Reason
		if shown := f.At.Add(errShown); f.Image != "" {
			if s.Now.Before(shown) {
				p.wake(shown)
			} else {
				p.Waiting[c.Name] = status.Reason{
					Reason:  "ImagePullBackOff",
					Message: fmt.Sprintf("Back-off pulling image %q: %s: %s", f.Image, f.Reason.Reason, f.Message),
				}
			}
		}
		p.wake(f.Retry)
		return
	}
	p.Start = append(p.Start, c.Name)
}

// errShown is how long ErrImagePull (or what else was the matter) shows before it becomes ImagePullBackOff: people look for both.
const errShown = 2 * time.Second

// tidy removes what nobody asks for any more: of each container the newest instance stays, and the one before it, for its last state
// and its log; sandboxes stay while containers in them do.
func tidy(s *State, p *Plan) {
	seen := map[string]int{}
	for i := range s.Runtime.Containers {
		c := &s.Runtime.Containers[i]
		seen[c.Name]++
		dead := c.State == observe.Exited || c.State == observe.Created // the latter could not be started
		if seen[c.Name] > 2 && dead && !s.Busy.Remove[c.ID] {
			p.Remove = append(p.Remove, c.ID)
		}
	}
	for i := range s.Runtime.Sandboxes {
		b := &s.Runtime.Sandboxes[i]
		if i > 0 && !b.Ready && !s.Busy.Remove[b.ID] && !inhabited(s, b.ID) {
			p.Drop = append(p.Drop, b.ID)
		}
	}
}

func inhabited(s *State, sandbox string) bool {
	return slices.ContainsFunc(s.Runtime.Containers, func(c observe.Container) bool { return c.Sandbox == sandbox || c.Sandbox == "" })
}
