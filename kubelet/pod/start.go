package pod

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/pull"
	"proa.dev/kubelet/spec"
	"proa.dev/kubelet/status"
	"proa.dev/kubelet/volume"
)

// job is the start, or the stop, of one container instance. It works on what it was given: the worker's state moves on meanwhile.
type job struct {
	*Deps
	pod      *core.Pod
	c        *core.Container
	field    string // "spec.containers{web}"
	sandbox  observe.Sandbox
	ips      []netip.Addr
	restarts int // -1: not known
	targetID string
	images   map[string]spec.Image // those of volumes, by reference

	id      string // result of a start: the container, as soon as it exists
	created time.Time
}

// startError is why a container does not run, in the API's words.
type startError struct{ status.Reason }

func (e *startError) Error() string { return e.Reason.Reason + ": " + e.Message }

func failed(reason string, err error) error {
	return &startError{Reason: status.Reason{Reason: reason, Message: cri.Message(err)}}
}

func (j *job) event(kind, reason, format string, args ...any) {
	j.Events.Field(j.pod, j.field, kind, reason, format, args...)
}

// target finds the container whose processes an ephemeral container shall see.
func (j *job) target(pod *core.Pod, rt *observe.Pod) {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if e.Name != j.c.Name || e.TargetContainerName == "" {
			continue
		}
		if o := rt.Latest(e.TargetContainerName); o != nil {
			j.targetID = o.ID
		}
	}
}

// run brings the container up: image, configuration, create, start, postStart hook. ctx is the daemon's; want ends when the container
// is not wanted any more, which is respected wherever it saves time and leaves nothing half-made.
func (j *job) run(ctx, want context.Context) error {
	kind := containerType(j.field)
	j.counts.started.Add([1]string{kind}, 1)
	err := j.up(ctx, want)
	if err != nil && want.Err() == nil {
		why := "CreateContainerError"
		if f, ok := errors.AsType[*startError](err); ok {
			why = f.Reason.Reason
		} else if f, ok := errors.AsType[*pull.Error](err); ok {
			why = f.Reason.Reason
		}
		j.counts.unstarted.Add([2]string{kind, why}, 1)
	}
	return err
}

func (j *job) up(ctx, want context.Context) error {
	image, err := j.ensureImage(want, j.c.Image, j.c.ImagePullPolicy)
	if err != nil {
		return err
	}
	if j.images, err = j.volumeImages(want); err != nil {
		return err
	}
	if err := want.Err(); err != nil {
		return err
	}
	config, box, err := j.config(ctx, image)
	if err != nil {
		j.event(core.EventTypeWarning, "Failed", "Error: %s", cri.Message(err))
		return failed("CreateContainerConfigError", err)
	}
	r, err := j.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: j.sandbox.ID, Config: config, SandboxConfig: box,
	})
	j.countMounts(err)
	if err != nil {
		j.event(core.EventTypeWarning, "Failed", "Error: %s", cri.Message(err))
		return failed("CreateContainerError", err)
	}
	j.id, j.created = r.GetContainerId(), time.Now()
	j.Index.add(j.id, j.pod.UID)
	j.event(core.EventTypeNormal, "Created", "Container created")
	if _, err := j.Runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: j.id}); err != nil {
		j.event(core.EventTypeWarning, "Failed", "Error: %s", cri.Message(err))
		return failed("RunContainerError", err)
	}
	j.event(core.EventTypeNormal, "Started", "Container started")
	if err := j.linkLog(filepath.Join(box.LogDirectory, config.LogPath)); err != nil {
		j.Log.Warn("container log not linked", "ns", j.pod.Namespace, "name", j.pod.Name, "container", j.c.Name, "err", err)
	}
	if j.c.Lifecycle == nil || j.c.Lifecycle.PostStart == nil {
		return nil
	}
	if err := j.hook(want, j.c.Lifecycle.PostStart); err != nil {
		j.event(core.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed") // the error may hold secrets
		o := observe.Container{ID: j.id, Name: j.c.Name}
		if err := j.stop(ctx, want, &o, grace(j.pod)); err != nil {
			return failed("PostStartHookError", err)
		}
		return failed("PostStartHookError", err)
	}
	return nil
}

// envSources adds the files in volumes to the objects of the API.
type envSources struct {
	volume.Sources
	volumes *volume.Volumes
}

func (s envSources) File(pod *core.Pod, volume, path string) ([]byte, error) {
	return s.volumes.File(pod, volume, path)
}

// config puts the configuration together; what is wrong here is wrong with the pod or the objects that it names.
func (j *job) config(ctx context.Context, image spec.Image) (*runtimeapi.ContainerConfig, *runtimeapi.PodSandboxConfig, error) {
	box, err := spec.Sandbox(j.Node, j.pod, j.sandbox.Attempt)
	if err != nil {
		return nil, nil, err
	}
	if j.restarts < 0 {
		if j.restarts, err = restartsByLogs(filepath.Join(box.LogDirectory, j.c.Name)); err != nil {
			return nil, nil, err
		}
	}
	env, err := spec.Env(j.Node, envSources{j.Sources, j.Volumes}, j.pod, j.c, j.ips)
	if err != nil {
		return nil, nil, err
	}
	mounts, err := j.Volumes.Mounts(j.pod, j.c, env, j.recursive(j.pod))
	if err != nil {
		return nil, nil, err
	}
	for _, m := range mounts {
		if m.Image != nil {
			m.Image.Image = j.images[m.Image.UserSpecifiedImage].Ref
		}
	}
	devices, err := j.Volumes.Devices(j.pod, j.c)
	if err != nil {
		return nil, nil, err
	}
	more, err := j.ownMounts(mounts)
	if err != nil {
		return nil, nil, err
	}
	config, err := spec.Container(j.Node, spec.Instance{
		Pod: j.pod, Container: j.c, Restarts: j.restarts, PodIPs: j.ips, Image: image, Env: env,
		Mounts: append(mounts, more...), TargetID: j.targetID,
	})
	if err != nil {
		return nil, nil, err
	}
	config.Devices = append(config.Devices, devices...)
	if j.Resources != nil {
		if err := j.Resources.Add(ctx, j.pod, j.c, config); err != nil {
			return nil, nil, err
		}
	}
	spec.MapMounts(config)
	return config, box, os.MkdirAll(filepath.Join(box.LogDirectory, j.c.Name), 0o755)
}

// ownMounts are the hosts file and the file for the termination message, unless the container mounts its own there.
func (j *job) ownMounts(have []*runtimeapi.Mount) ([]*runtimeapi.Mount, error) {
	taken := func(path string) bool {
		for _, m := range have {
			if m.ContainerPath == path {
				return true
			}
		}
		return false
	}
	var out []*runtimeapi.Mount
	if !taken("/etc/hosts") {
		path := filepath.Join(j.Node.PodDir(j.pod.UID), "etc-hosts")
		content, err := spec.Hosts(j.Node, j.pod, j.ips)
		if err != nil {
			return nil, err
		}
		if err := writeFile(path, content, 0o644); err != nil {
			return nil, err
		}
		out = append(out, &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: path, SelinuxRelabel: true})
	}
	if p := j.c.TerminationMessagePath; p != "" && !taken(p) {
		var id [4]byte
		rand.Read(id[:]) // never fails
		path := filepath.Join(j.Node.PodDir(j.pod.UID), "containers", j.c.Name, hex.EncodeToString(id[:]))
		if err := writeFile(path, nil, 0o666); err != nil {
			return nil, err
		}
		out = append(out, &runtimeapi.Mount{ContainerPath: p, HostPath: path, SelinuxRelabel: true})
	}
	return out, nil
}

// writeFile writes in place, since running containers have the file mounted, and sets the mode whatever the umask.
func writeFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// restartsByLogs counts a container's earlier instances by their logs, for a runtime that forgot them (after a reboot).
func restartsByLogs(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return 0, fmt.Errorf("count the restarts by the logs: %w", err)
	}
	n := 0
	for _, e := range entries {
		if i, err := strconv.Atoi(strings.SplitN(e.Name(), ".", 2)[0]); err == nil {
			n = max(n, i+1)
		}
	}
	return n, nil
}

// logLink is where collectors of logs look for them.
func (d *Deps) logLink(pod *core.Pod, container, id string) string {
	return filepath.Join(d.LogLinks, fmt.Sprintf("%s_%s_%s-%s.log", pod.Name, pod.Namespace, container, id))
}

func (j *job) linkLog(log string) error {
	if j.LogLinks == "" {
		return nil
	}
	link := j.logLink(j.pod, j.c.Name, j.id)
	if err := os.Symlink(log, link); err == nil || os.IsExist(err) {
		return nil
	}
	if err := os.MkdirAll(j.LogLinks, 0o755); err != nil {
		return err
	}
	return os.Symlink(log, link)
}
