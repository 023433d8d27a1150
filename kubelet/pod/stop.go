package pod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/logs"
	"proa.dev/kubelet/observe"
	"proa.dev/kubelet/probe"
)

// minGrace is the least that a container gets between TERM and KILL, in seconds.
const minGrace = 2

// hookOutput bounds what is kept of a hook's answer.
const hookOutput = 10 << 10

// stop ends a container: the preStop hook, which counts against the grace period, then the stop signal, then KILL. hook ends early what
// may take long. left is what the container's annotations say, for when its pod is gone.
func (j *job) stop(ctx, hook context.Context, left *observe.Container, grace int64) error {
	pre := left.PreStop
	if j.c != nil && j.c.Lifecycle != nil {
		pre = j.c.Lifecycle.PreStop
	}
	if pre != nil && grace > 0 {
		began := time.Now()
		limit, cancel := context.WithTimeout(hook, time.Duration(grace)*time.Second)
		if err := j.hook(limit, pre); err != nil && hook.Err() == nil {
			j.event(core.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
		cancel()
		grace -= int64(time.Since(began).Seconds())
	}
	if hook.Err() != nil && ctx.Err() == nil { // somebody in more of a hurry does it
		return nil
	}
	_, err := j.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: j.id, Timeout: max(grace, minGrace)})
	if cri.NotFound(err) {
		return nil
	}
	return err
}

// hook runs a lifecycle hook.
func (j *job) hook(ctx context.Context, h *core.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		r, err := j.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: j.id, Cmd: h.Exec.Command})
		if err != nil {
			return err
		}
		if r.GetExitCode() != 0 {
			return fmt.Errorf("command '%v' exited with %d: %s", h.Exec.Command, r.GetExitCode(), r.GetStderr())
		}
		return nil
	case h.HTTPGet != nil:
		return j.hookHTTP(ctx, h.HTTPGet)
	case h.Sleep != nil:
		t := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-ctx.Done():
			j.counts.cutShort.Add(1)
		case <-t.C:
		}
		return nil
	}
	return errors.New("invalid handler: it says nothing")
}

func (j *job) hookHTTP(ctx context.Context, h *core.HTTPGetAction) error {
	if j.c == nil || len(j.ips) == 0 && h.Host == "" {
		return errors.New("the hook has nobody to ask: the pod has no address")
	}
	ip := ""
	if len(j.ips) > 0 {
		ip = j.ips[0].String()
	}
	client, req, err := probe.HTTPRequest(ctx, j.c, ip, h)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-lifecycle/1.37")
	resp, err := client.Do(req)
	if err != nil && h.Scheme == core.URISchemeHTTPS && ctx.Err() == nil { // an https hook of a server that speaks http counts, as upstream
		req.URL.Scheme = "http"
		if resp, err = client.Do(req); err == nil {
			j.counts.fellBack.Add(1)
		}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, hookOutput))
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP hook answered %s", resp.Status)
	}
	return err
}

// What is kept of a container's last words.
const (
	maxMessage  = 4096
	maxLogTail  = 2048
	maxLogLines = 80
)

// terminationMessage is why a container ended: the runtime's message and what the container wrote, or the end of its log.
func terminationMessage(o *observe.Container) string {
	said := ""
	if o.MessageFile != "" {
		b, err := tail(o.MessageFile, maxMessage)
		switch {
		case err == nil:
			said = string(b)
		case !os.IsNotExist(err):
			said = fmt.Sprintf("Error on reading termination log %s: %v", o.MessageFile, err)
		}
	}
	if said == "" && o.MessagePolicy == core.TerminationMessageFallbackToLogsOnError && o.ExitCode != 0 &&
		o.Reason != "ContainerCannotRun" && o.LogPath != "" {
		said = logTail(o.LogPath)
	}
	switch {
	case o.Message == "":
		return said
	case said == "":
		return o.Message
	}
	return o.Message + ": " + said
}

// tail reads the last n bytes of a file that a container may have written.
func tail(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if i.Size() > n {
		if _, err := f.Seek(-n, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, n))
}

func logTail(path string) string {
	s, err := logs.Tail(path, maxLogLines, maxLogTail)
	if err != nil {
		return fmt.Sprintf("Error on reading termination message from logs: %v", err)
	}
	return s
}
