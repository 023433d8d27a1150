package plugin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// driver is a plugin that tells what it is told.
type driver struct {
	registration.UnimplementedRegistrationServer
	info *registration.PluginInfo
	told chan *registration.RegistrationStatus
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return d.info, nil
}

func (d *driver) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	d.told <- s
	return &registration.RegistrationStatusResponse{}, nil
}

// serve puts a plugin at path; stop removes its socket.
func serve(t *testing.T, path string, info *registration.PluginInfo) (d *driver, stop func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	d = &driver{info: info, told: make(chan *registration.RegistrationStatus, 10)}
	s := grpc.NewServer()
	registration.RegisterRegistrationServer(s, d)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return d, s.Stop
}

// book is a handler that writes down its calls.
type book struct{ calls chan string }

func (b book) Validate(i Info) error {
	if i.Name == "bad" {
		return errors.New("its name is bad")
	}
	return nil
}

func (b book) Register(_ context.Context, i Info) error {
	if i.Name == "broken" {
		return errors.New("it is broken")
	}
	b.calls <- "register " + i.Name + " " + filepath.Base(i.Endpoint) + " " + strings.Join(i.Versions, ",")
	return nil
}

func (b book) Deregister(i Info) { b.calls <- "deregister " + i.Name + " " + filepath.Base(i.Endpoint) }

func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// start runs a Watcher over dir and returns what its handler hears, and how to end it.
func start(t *testing.T, dir string) (calls chan string, end func()) {
	t.Helper()
	calls = make(chan string, 10)
	w := New(dir, slog.New(slog.DiscardHandler))
	w.Handle(CSI, book{calls})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	t.Cleanup(end)
	return calls, end
}

func TestPluginsComeAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reg")
	early, _ := serve(t, filepath.Join(dir, "early.sock"), &registration.PluginInfo{Type: CSI, Name: "early", Endpoint: "/x/csi.sock", SupportedVersions: []string{"1.0.0", "1.1.0"}})
	calls, end := start(t, dir)
	want := func(call string) {
		t.Helper()
		if got := next(t, calls); got != call {
			t.Fatalf("the handler heard %q, want %q", got, call)
		}
	}
	want("register early csi.sock 1.0.0,1.1.0")
	if s := next(t, early.told); !s.PluginRegistered || s.Error != "" {
		t.Errorf("the plugin was told %v", s)
	}
	path := filepath.Join(dir, "sub", "dir", "late.sock")
	late := &registration.PluginInfo{Type: CSI, Name: "late", SupportedVersions: []string{"1.0.0"}}
	_, stop := serve(t, path, late)
	want("register late late.sock 1.0.0")
	if err := os.Chmod(path, 0o600); err != nil { // is no new plugin
		t.Fatal(err)
	}
	stop()
	want("deregister late late.sock")
	_, stop = serve(t, path, late)
	want("register late late.sock 1.0.0")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want("deregister late late.sock")
	stop()
	end()
	if len(calls) > 0 {
		t.Errorf("at the end of the kubelet: %s", <-calls)
	}
}

func TestSocketMadeAnewIsRegisteredAnew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	serve(t, path, &registration.PluginInfo{Type: CSI, Name: "a"})
	calls, _ := start(t, dir)
	if got := next(t, calls); got != "register a a.sock " {
		t.Fatal(got)
	}
	serve(t, path+".new", &registration.PluginInfo{Type: CSI, Name: "b", Endpoint: "b"})
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	var last string
	for range 3 { // the new socket may have been seen under its first name as well
		if last = next(t, calls); last == "deregister a a.sock" {
			break
		}
	}
	for range 4 {
		if last == "register b b " && len(calls) == 0 {
			return
		}
		last = next(t, calls)
	}
	t.Errorf("the last call was %q", last)
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		info *registration.PluginInfo
		want string
	}{
		"type":     {&registration.PluginInfo{Type: "Toaster", Name: "t"}, "RegisterPlugin error -- no handler registered for plugin type: Toaster at socket "},
		"validate": {&registration.PluginInfo{Type: CSI, Name: "bad"}, "RegisterPlugin error -- plugin validation failed with err: its name is bad"},
		"register": {&registration.PluginInfo{Type: CSI, Name: "broken"}, "RegisterPlugin error -- plugin registration failed with err: it is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, _ := serve(t, filepath.Join(dir, "p.sock"), c.info)
			start(t, dir)
			for range 2 { // and again
				if s := next(t, d.told); s.PluginRegistered || !strings.HasPrefix(s.Error, c.want) {
					t.Errorf("told %v, want %s", s, c.want)
				}
			}
		})
	}
}
