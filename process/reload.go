package process

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"proa.dev/kit/filewatch"
	"proa.dev/kit/prom"
	"proa.dev/kit/run"
)

// reloads is what has come of the changes of configuration files.
type reloads struct {
	mu    sync.Mutex // guards files
	files []*reload
}

// reload is what has come of the changes of one file.
type reload struct {
	name string          // "authorization"
	last [2]atomic.Int64 // when one failed, and when one did not, in nanoseconds since 1970
	n    [2]atomic.Int64 // how often
	hash atomic.Value    // string: of what holds now; none before the first change
}

// reloading follows a file and has use take what it says. What cannot be used is logged, and changes nothing. known is what has been
// read already.
func (s *server) reloading(name, path string, known []byte, use func(path string, data []byte) error) run.Component {
	r := &reload{name: name}
	s.reloads.mu.Lock()
	s.reloads.files = append(s.reloads.files, r)
	s.reloads.mu.Unlock()
	return run.Component{Name: name + " configuration", Run: func(ctx context.Context) error {
		return filewatch.Run(ctx, path, known, func(data []byte) {
			err := use(path, data)
			r.note(data, err)
			if err != nil {
				s.log.Error("the "+name+" configuration stays as it was", "err", err)
				return
			}
			s.log.Info(name+" configuration read", "path", path)
		})
	}}
}

func (r *reload) note(data []byte, err error) {
	i := 1
	if err != nil {
		i = 0
	} else {
		r.hash.Store(hashed(data))
	}
	r.n[i].Add(1)
	r.last[i].Store(time.Now().UnixNano())
}

func hashed(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// write writes Kubernetes' metrics of reloads. id names this server.
func (r *reloads) write(p *prom.Page, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	server := hashed([]byte(id))
	for _, f := range r.files {
		pre := "apiserver_" + f.name + "_config_controller_"
		p.Head(pre+"automatic_reloads_total", "counter", "[BETA] Changes of the "+f.name+" configuration that were read.")
		for i, status := range [...]string{"failure", "success"} {
			if n := f.n[i].Load(); n > 0 {
				p.Value(prom.Labels("apiserver_id_hash", server, "status", status), float64(n))
			}
		}
		p.Head(pre+"automatic_reload_last_timestamp_seconds", "gauge", "[BETA] When that was, the last time.")
		for i, status := range [...]string{"failure", "success"} {
			if at := f.last[i].Load(); at > 0 {
				p.Value(prom.Labels("apiserver_id_hash", server, "status", status), float64(at)/float64(time.Second))
			}
		}
		if hash, ok := f.hash.Load().(string); ok {
			p.Head(pre+"last_config_info", "gauge", "1, with the hash of the configuration that was read.")
			p.Value(prom.Labels("apiserver_id_hash", server, "hash", hash), 1)
		}
	}
}
