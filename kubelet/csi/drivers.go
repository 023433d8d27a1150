package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"

	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/kubelet/plugin"
	"proa.dev/object"
)

// Times of the protocol, as Kubernetes has them.
const (
	callTimeout = 2 * time.Minute
	idle        = 10 * time.Second // then a connection is closed until it is needed again
)

// Deps are what Drivers needs.
type Deps struct {
	Node    string // its name
	Root    string // of the kubelet, "/var/lib/kubelet"
	Client  client.Client
	View    client.View
	Sources Sources
	Log     *slog.Logger
}

// Sources finds what volumes refer to.
type Sources interface {
	Secret(namespace, name string) (*core.Secret, error)
	Driver(name string) (*storage.CSIDriver, error)
	Attachment(name string) (*storage.VolumeAttachment, error)
	Token(ctx context.Context, pod *core.Pod, audience string, seconds int64) (string, error)
}

// Drivers is the CSI drivers of this node and the volumes that they have made. Its methods are safe for concurrent use, for different
// pods.
type Drivers struct {
	Deps
	Operations Operations
	news       broadcast     // the node's attachments changed, or a driver came
	unreleased chan struct{} // holds a token after a driver did not unstage a volume

	mu      sync.Mutex // guards all below
	drivers map[string]*driver
	devices map[device]*use
	wake    func() // tells pods that a driver came; nil: nobody asks
	inUse   map[core.UniqueVolumeName]int
	told    []core.UniqueVolumeName // what the node's status has of inUse
	unsure  bool                    // whether it has: a write failed, and may have come to pass

	objects sync.Mutex // held while the CSINode and the node's labels are written
	report  sync.Mutex // held while the node's volumesInUse are written
}

// driver is one that is registered.
type driver struct {
	plugin.Info
	conn *grpc.ClientConn
	node csi.NodeClient
	can  map[csi.NodeServiceCapability_RPC_Type]bool
	gone context.CancelFunc // ends what follows the driver
}

// New reads from disk what earlier processes have made, and starts nothing. It makes the folder that drivers put their sockets in.
func New(d Deps) (*Drivers, error) {
	if err := os.MkdirAll(filepath.Join(d.Root, "plugins"), 0o750); err != nil {
		return nil, fmt.Errorf("folder of CSI drivers: %w", err)
	}
	s := &Drivers{Deps: d, drivers: map[string]*driver{}, devices: map[device]*use{}, inUse: map[core.UniqueVolumeName]int{},
		unreleased: make(chan struct{}, 1)}
	s.news.c = make(chan struct{})
	return s, s.recover()
}

// OnDriver names what is called when a driver came.
func (s *Drivers) OnDriver(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = fn
}

// Validate implements plugin.Handler.
func (s *Drivers) Validate(i plugin.Info) error {
	if err := checkVersions(i); err != nil {
		return fmt.Errorf("validation failed for CSI Driver %s at endpoint %s: %w", i.Name, i.Endpoint, err)
	}
	return nil
}

// checkVersions wants a CSI version 1.x. The words are those of Kubernetes, which authors of drivers know.
func checkVersions(i plugin.Info) error {
	if len(i.Versions) == 0 {
		return fmt.Errorf("kubernetes.io/csi: ValidatePlugin for CSI driver %q failed. Plugin returned an empty list for supported versions", i.Name)
	}
	for _, v := range i.Versions {
		parsed, err := version.ParseGeneric(v)
		if err == nil && parsed.Major() == 1 {
			return nil
		}
	}
	return fmt.Errorf("kubernetes.io/csi: ValidatePlugin for CSI driver %q failed. None of the versions specified %q are supported", i.Name, i.Versions)
}

// Register implements plugin.Handler: it asks the driver what the node is to it, and tells the API.
func (s *Drivers) Register(ctx context.Context, i plugin.Info) error {
	d, err := dial(i, s.Operations.measured(i.Name))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := d.node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	if err == nil && info.GetNodeId() == "" {
		err = fmt.Errorf("error adding CSI driver node info: driverNodeID must not be empty")
	}
	if err == nil {
		err = d.ask(ctx)
	}
	if err == nil {
		err = s.install(ctx, i.Name, info)
	}
	if err != nil {
		return errors.Join(err, d.conn.Close())
	}
	var live context.Context
	live, d.gone = context.WithCancel(context.Background())
	s.mu.Lock()
	old := s.drivers[i.Name]
	s.drivers[i.Name] = d
	wake := s.wake
	s.mu.Unlock()
	if old != nil {
		old.close() // calls on it fail and are made again on the new one
	}
	s.followLimit(live, d)
	s.news.tell()
	s.sweep(i.Name)
	if wake != nil {
		wake()
	}
	return nil
}

// Deregister implements plugin.Handler.
func (s *Drivers) Deregister(i plugin.Info) {
	s.mu.Lock()
	d := s.drivers[i.Name]
	if d == nil || d.Endpoint != i.Endpoint {
		s.mu.Unlock()
		return
	}
	delete(s.drivers, i.Name)
	s.mu.Unlock()
	d.close()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.uninstall(ctx, i.Name); err != nil {
		s.Log.Warn("driver not taken from the node's objects", "driver", i.Name, "err", err)
	}
}

func (d *driver) close() {
	d.gone()
	d.conn.Close()
}

// followLimit asks the driver again and again how many volumes the node may have, if its CSIDriver wants that (nodeAllocatableUpdatePeriodSeconds).
func (s *Drivers) followLimit(ctx context.Context, d *driver) {
	about, err := s.Sources.Driver(d.Name)
	if err != nil || about.Spec.NodeAllocatableUpdatePeriodSeconds == nil || *about.Spec.NodeAllocatableUpdatePeriodSeconds < 1 {
		return
	}
	every := time.NewTicker(time.Duration(*about.Spec.NodeAllocatableUpdatePeriodSeconds) * time.Second)
	go func() { // ends with the driver, at the latest with the process: it holds nothing
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			call, cancel := context.WithTimeout(ctx, callTimeout)
			info, err := d.node.NodeGetInfo(call, &csi.NodeGetInfoRequest{})
			if err == nil {
				err = s.install(call, d.Name, info)
			}
			cancel()
			if err != nil && ctx.Err() == nil {
				s.Log.Warn("the driver's limit of volumes is not known anew", "driver", d.Name, "err", err)
			}
		}
	}()
}

func dial(i plugin.Info, measured grpc.UnaryClientInterceptor) (*driver, error) {
	conn, err := grpc.NewClient("passthrough:///"+i.Endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(idle), grpc.WithUnaryInterceptor(measured),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(path, "unix://"))
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", i.Endpoint, err)
	}
	return &driver{Info: i, conn: conn, node: csi.NewNodeClient(conn), can: map[csi.NodeServiceCapability_RPC_Type]bool{}}, nil
}

// ask asks what the driver can do.
func (d *driver) ask(ctx context.Context) error {
	r, err := d.node.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	if err != nil {
		return err
	}
	for _, c := range r.GetCapabilities() {
		d.can[c.GetRpc().GetType()] = true
	}
	return nil
}

// driver finds one by name.
func (s *Drivers) driver(name string) (*driver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drivers[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("driver name %s not found in the list of registered CSI drivers", name)
}

// Run keeps the node's CSINode there, and wakes who waits for an attachment, until ctx ends.
func (s *Drivers) Run(ctx context.Context) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := s.ensure(ctx)
		if err == nil {
			break
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
	s.mu.Lock()
	recovered := len(s.inUse) > 0
	if n, ok := client.Lookup[core.Node](s.View, object.Key{Name: s.Node}); ok {
		s.unsure = !slices.Equal(n.Status.VolumesInUse, slices.Sorted(maps.Keys(s.inUse))) // of an earlier process
	}
	s.mu.Unlock()
	if err := s.tellInUse(ctx); recovered && err != nil && ctx.Err() == nil {
		s.Log.Warn("volumes in use not told", "node", s.Node, "err", err)
	}
	return run.All(ctx,
		run.Component{Name: "volumes not unstaged", Run: s.releaseAgain},
		run.Component{Name: "CSIDrivers", Run: s.watchDrivers},
		run.Component{Name: "attachments", Run: func(ctx context.Context) error {
			return client.Watch(ctx, s.View, func(_ client.EventType, now, old *core.Node) {
				if now != nil && now.Name == s.Node && (old == nil || !slices.Equal(now.Status.VolumesAttached, old.Status.VolumesAttached)) {
					s.news.tell()
				}
			})
		}})
}

// broadcast wakes everybody who waits.
type broadcast struct {
	mu sync.Mutex // guards c
	c  chan struct{}
}

func (b *broadcast) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
}

// next is closed at the next tell.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}

// Uses says whether a volume of the pod is one that a CSI driver may make, so that the pod may wait for it.
func Uses(pod *core.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool {
		return v.CSI != nil || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	})
}

// uid is a pod's.
type uid = types.UID
