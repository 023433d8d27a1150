package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// The types of plugins that there are.
const (
	CSI    = registration.CSIPlugin
	DRA    = registration.DRAPlugin
	Device = registration.DevicePlugin
)

// Info is what a plugin says of itself.
type Info struct {
	Type     string   // CSI, DRA or Device
	Name     string   // of the driver or resource, as users write it
	Endpoint string   // path of the socket that serves it; that of the registration where the plugin named none
	Versions []string // of its API, as its type writes them
}

// Handler looks after the plugins of one type. The calls for one socket come one after another; those for different sockets at once.
type Handler interface {
	// Validate refuses a plugin that cannot be used, in words for its author.
	Validate(Info) error
	// Register takes a plugin into use. An error goes to the plugin, and it is tried again later. The same name may come again from another
	// socket while the first is still there: the last one counts.
	Register(context.Context, Info) error
	// Deregister says that the socket of a plugin that was taken is gone. A handler that knows the name by another endpoint ignores it.
	Deregister(Info)
}

// Times of the protocol, as Kubernetes has them.
const (
	infoTimeout   = 10 * time.Second
	notifyTimeout = 5 * time.Second
	firstRetry    = 500 * time.Millisecond
	lastRetry     = 2 * time.Minute
)

// Watcher follows the sockets below one directory.
type Watcher struct {
	dir      string
	log      *slog.Logger
	handlers map[string]Handler
	live     map[string]*socket // by path; of Run's goroutine
	working  sync.WaitGroup     // the goroutines of sockets, which Run waits for
}

// New starts nothing. dir is made by Run.
func New(dir string, log *slog.Logger) *Watcher {
	return &Watcher{dir: dir, log: log, handlers: map[string]Handler{}, live: map[string]*socket{}}
}

// Handle names the handler of a type; to be called before Run.
func (w *Watcher) Handle(typ string, h Handler) { w.handlers[typ] = h }

// Run finds, registers and deregisters plugins until ctx ends. Then it leaves them registered: they outlive this process.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.working.Wait()
	return follow(ctx, w.dir, func(found map[string]identity) {
		for path, s := range w.live {
			if found[path] != s.id {
				s.end()
				delete(w.live, path)
			}
		}
		for path, id := range found {
			if w.live[path] == nil {
				w.live[path] = w.begin(ctx, path, id)
			}
		}
	})
}

// socket is one that has been found.
type socket struct {
	id   identity
	stop context.CancelFunc
	done chan struct{} // closed when the plugin is deregistered
}

// end waits until the plugin is deregistered, so that its next life does not begin before.
func (s *socket) end() {
	s.stop()
	<-s.done
}

func (w *Watcher) begin(ctx context.Context, path string, id identity) *socket {
	mine, stop := context.WithCancel(ctx)
	s := &socket{id: id, stop: stop, done: make(chan struct{})}
	w.working.Go(func() {
		defer close(s.done)
		defer stop()
		info, ok := w.insist(mine, path)
		if !ok {
			return
		}
		w.log.Info("plugin registered", "type", info.Type, "name", info.Name, "endpoint", info.Endpoint)
		<-mine.Done()
		if ctx.Err() == nil { // the socket is gone, not the kubelet
			w.handlers[info.Type].Deregister(info)
			w.log.Info("plugin gone", "type", info.Type, "name", info.Name)
		}
	})
	return s
}

// insist registers what is behind path, as often as it takes. It says false when ctx ended first.
func (w *Watcher) insist(ctx context.Context, path string) (Info, bool) {
	told := ""
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		info, err := w.register(ctx, path)
		if err == nil {
			return info, true
		}
		if ctx.Err() != nil {
			return Info{}, false
		}
		if err.Error() != told {
			told = err.Error()
			w.log.Warn("plugin not registered", "socket", path, "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return Info{}, false
		case <-t.C:
		}
	}
}

// register goes once through the protocol with the plugin behind path.
func (w *Watcher) register(ctx context.Context, path string) (Info, error) {
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return Info{}, err
	}
	defer conn.Close()
	client := registration.NewRegistrationClient(conn)
	said, err := func() (*registration.PluginInfo, error) {
		ctx, cancel := context.WithTimeout(ctx, infoTimeout)
		defer cancel()
		return client.GetInfo(ctx, &registration.InfoRequest{})
	}()
	if err != nil {
		return Info{}, fmt.Errorf("ask the plugin what it is: %w", err)
	}
	info := Info{Type: said.GetType(), Name: said.GetName(), Endpoint: said.GetEndpoint(), Versions: said.GetSupportedVersions()}
	if info.Endpoint == "" {
		info.Endpoint = path
	}
	h := w.handlers[info.Type]
	if h == nil {
		return info, notify(ctx, client, fmt.Sprintf("RegisterPlugin error -- no handler registered for plugin type: %s at socket %s", info.Type, path))
	}
	if err := h.Validate(info); err != nil {
		return info, notify(ctx, client, fmt.Sprintf("RegisterPlugin error -- plugin validation failed with err: %v", err))
	}
	if err := h.Register(ctx, info); err != nil {
		return info, notify(ctx, client, fmt.Sprintf("RegisterPlugin error -- plugin registration failed with err: %v", err))
	}
	if err := notify(ctx, client, ""); err != nil {
		if ctx.Err() == nil {
			h.Deregister(info)
		}
		return info, err
	}
	return info, nil
}

// notify tells the plugin why it was refused, which is the error then, too; "" is that it was taken.
func notify(ctx context.Context, client registration.RegistrationClient, refusal string) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err := client.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: refusal == "", Error: refusal})
	if err != nil {
		err = fmt.Errorf("tell the plugin: %w", err)
	}
	if refusal == "" {
		return err
	}
	return errors.Join(errors.New(refusal), err)
}
