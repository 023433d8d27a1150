package serve

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/kubelet/logs"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// containerLogs sends a container's log, as PodLogOptions say.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	p, err := s.pod(r)
	if err != nil {
		fail(w, err)
		return
	}
	name := r.PathValue("container")
	q := r.URL.Query()
	if c, _ := spec.FindContainer(p, name); c == nil {
		fail(w, answer(http.StatusNotFound, "container %q not found in pod %q", name, p.Name))
		return
	}
	rt, _ := s.Host.Observed(r.Context(), p.UID)
	c := latest(&rt, name, on(q, "previous"))
	if c == nil {
		fail(w, s.noLog(p, name, on(q, "previous")))
		return
	}
	o, err := options(q)
	if err != nil {
		fail(w, err)
		return
	}
	out := &flusher{w: w, c: http.NewResponseController(w)}
	if o.stdout {
		o.Stdout = out
	}
	if o.stderr {
		o.Stderr = out
	}
	if o.Follow {
		ended := s.Host.Ended(p.UID, c.ID)
		o.Wake = ended
		o.Ended = func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out.live = o.Follow
	if o.Follow {
		w.WriteHeader(http.StatusOK)
		out.flush()
	}
	if err := logs.Read(r.Context(), c.LogPath, o.Options); err != nil && r.Context().Err() == nil {
		if os.IsNotExist(err) {
			err = answer(http.StatusNotFound, "the log of container %q is not there any more", name)
		}
		if out.wrote {
			s.Log.Warn("log not sent to its end", "ns", p.Namespace, "name", p.Name, "container", name, "err", err)
			return
		}
		fail(w, err)
	}
}

// noLog says why a container has no log to show.
func (s *Server) noLog(p *core.Pod, name string, previous bool) error {
	if previous {
		return answer(http.StatusBadRequest, "previous terminated container %q in pod %q not found", name, p.Name)
	}
	if now, ok := client.Lookup[core.Pod](s.View, object.KeyOf(p)); ok {
		p = now
	}
	for _, list := range [][]core.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name != name || list[i].State.Waiting == nil {
				continue
			}
			switch reason := list[i].State.Waiting.Reason; reason {
			case "ErrImagePull":
				return answer(http.StatusBadRequest, "container %q in pod %q is waiting to start: image can't be pulled", name, p.Name)
			case "ImagePullBackOff":
				return answer(http.StatusBadRequest, "container %q in pod %q is waiting to start: trying and failing to pull image", name, p.Name)
			default:
				return answer(http.StatusBadRequest, "container %q in pod %q is waiting to start: %s", name, p.Name, reason)
			}
		}
	}
	return answer(http.StatusBadRequest, "container %q in pod %q is not available", name, p.Name)
}

type logOptions struct {
	logs.Options
	stdout, stderr bool
}

// options reads PodLogOptions from a query.
func options(q url.Values) (o logOptions, err error) {
	o.All, o.stdout, o.stderr = true, true, true
	number := func(name string, least int64) (int64, bool, error) {
		v := q.Get(name)
		if v == "" {
			return 0, false, nil
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least {
			return 0, false, answer(http.StatusUnprocessableEntity, "invalid %s %q", name, v)
		}
		return n, true, nil
	}
	if n, ok, e := number("tailLines", 0); e != nil {
		return o, e
	} else if ok {
		o.All, o.Tail = false, n
	}
	if n, ok, e := number("limitBytes", 1); e != nil {
		return o, e
	} else if ok {
		o.Bytes = n
	}
	if n, ok, e := number("sinceSeconds", 1); e != nil {
		return o, e
	} else if ok {
		o.Since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	if v := q.Get("sinceTime"); v != "" {
		if o.Since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return o, answer(http.StatusUnprocessableEntity, "invalid sinceTime %q", v)
		}
	}
	o.Follow, o.Timestamps = on(q, "follow"), on(q, "timestamps")
	switch q.Get("stream") {
	case "", "All":
	case "Stdout":
		o.stderr = false
	case "Stderr":
		o.stdout = false
	default:
		return o, answer(http.StatusUnprocessableEntity, "invalid stream %q", q.Get("stream"))
	}
	return o, nil
}

func on(q url.Values, name string) bool {
	b, err := strconv.ParseBool(q.Get(name))
	return err == nil && b
}

// flusher sends every write on at once while a log is followed.
type flusher struct {
	w     io.Writer
	c     *http.ResponseController
	live  bool
	wrote bool
}

func (f *flusher) Write(b []byte) (int, error) {
	f.wrote = true
	n, err := f.w.Write(b)
	if err == nil && f.live {
		f.flush()
	}
	return n, err
}

func (f *flusher) flush() { _ = f.c.Flush() } // an error shows at the next write
