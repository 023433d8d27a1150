package csi

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/kit/prom"
	"proa.dev/kit/roottest"
	"proa.dev/kubelet/plugin"
	"proa.dev/object"
)

// fake is a driver that mounts a tmpfs at staging paths and binds them to targets, and writes down what it is asked.
type fake struct {
	csi.UnimplementedNodeServer
	can []csi.NodeServiceCapability_RPC_Type

	mu    sync.Mutex
	calls []string
	last  *csi.NodePublishVolumeRequest
	fail  error // of the next publish
	stuck error // of the next unstage
}

func (f *fake) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

func (f *fake) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: "id-1", MaxVolumesPerNode: 7, AccessibleTopology: &csi.Topology{Segments: map[string]string{"fake/zone": "z1", "fake/rack": "r1"}}}, nil
}

func (f *fake) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range f.can {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}}})
	}
	return r, nil
}

func (f *fake) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	f.note("stage " + r.VolumeId + " " + r.Secrets["key"])
	if r.VolumeCapability.GetBlock() != nil {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	return &csi.NodeStageVolumeResponse{}, unix.Mount("tmpfs", r.StagingTargetPath, "tmpfs", 0, "")
}

func (f *fake) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	f.note("unstage " + r.VolumeId)
	f.mu.Lock()
	stuck := f.stuck
	f.stuck = nil
	f.mu.Unlock()
	if stuck != nil {
		return nil, stuck
	}
	if isMountPoint(r.StagingTargetPath) {
		return &csi.NodeUnstageVolumeResponse{}, unix.Unmount(r.StagingTargetPath, 0)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (f *fake) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	f.note("publish " + r.VolumeId)
	f.mu.Lock()
	fail := f.fail
	f.fail, f.last = nil, r
	f.mu.Unlock()
	switch {
	case fail != nil:
		return nil, fail
	case isMountPoint(r.TargetPath):
		return &csi.NodePublishVolumeResponse{}, nil
	case r.VolumeCapability.GetBlock() != nil:
		if err := os.WriteFile(r.TargetPath, nil, 0o600); err != nil {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, unix.Mount("/dev/null", r.TargetPath, "", unix.MS_BIND, "")
	}
	if err := os.Mkdir(r.TargetPath, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if r.StagingTargetPath == "" {
		return &csi.NodePublishVolumeResponse{}, unix.Mount("tmpfs", r.TargetPath, "tmpfs", 0, "")
	}
	return &csi.NodePublishVolumeResponse{}, unix.Mount(r.StagingTargetPath, r.TargetPath, "", unix.MS_BIND, "")
}

func (f *fake) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	f.note("unpublish " + r.VolumeId)
	if isMountPoint(r.TargetPath) {
		if err := unix.Unmount(r.TargetPath, 0); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (f *fake) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	f.note("expand " + r.VolumeId + " " + resource.NewQuantity(r.CapacityRange.RequiredBytes, resource.BinarySI).String())
	return &csi.NodeExpandVolumeResponse{}, nil
}

func (f *fake) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if !isMountPoint(r.VolumePath) {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: 30, Used: 10, Available: 20}}}, nil
}

// sources are what a test puts there.
type sources struct {
	mu      sync.Mutex
	drivers map[string]*storage.CSIDriver
	at      map[string]*storage.VolumeAttachment
}

func (s *sources) Secret(ns, name string) (*core.Secret, error) {
	return &core.Secret{Data: map[string][]byte{"key": []byte(ns + "/" + name)}}, nil
}

func (s *sources) Driver(name string) (*storage.CSIDriver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drivers[name]; d != nil {
		return d, nil
	}
	return nil, apierrors.NewNotFound(storage.Resource("csidrivers"), name)
}

func (s *sources) Attachment(name string) (*storage.VolumeAttachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.at[name]; a != nil {
		return a, nil
	}
	return nil, apierrors.NewNotFound(storage.Resource("volumeattachments"), name)
}

func (s *sources) Token(_ context.Context, _ *core.Pod, audience string, _ int64) (string, error) {
	return "token for " + audience, nil
}

// bench is a node with one driver, "fake".
type bench struct {
	t    *testing.T
	api  *controltest.API
	root string
	src  *sources
	f    *fake
	s    *Drivers
	info plugin.Info
}

func newBench(t *testing.T, about *storage.CSIDriver, can ...csi.NodeServiceCapability_RPC_Type) *bench {
	t.Helper()
	roottest.Need(t, "drivers mount")
	b := &bench{t: t, api: controltest.New(t), root: t.TempDir(), f: &fake{can: can}}
	b.src = &sources{drivers: map[string]*storage.CSIDriver{}, at: map[string]*storage.VolumeAttachment{}}
	if about != nil {
		b.src.drivers["fake"] = about
	}
	if _, err := client.Create(t.Context(), b.api.Client(), &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "csi.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	csi.RegisterNodeServer(srv, b.f)
	go func() { _ = srv.Serve(l) }()
	b.info = plugin.Info{Type: plugin.CSI, Name: "fake", Endpoint: socket, Versions: []string{"1.0.0"}}
	t.Cleanup(func() {
		srv.Stop()
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if w := strings.Fields(line); strings.HasPrefix(w[4], b.root) {
				t.Errorf("left mounted: %s", w[4])
				if err := unix.Unmount(w[4], unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			}
		}
	})
	b.restart()
	return b
}

// restart is the next kubelet.
func (b *bench) restart() {
	b.t.Helper()
	s, err := New(Deps{Node: "n1", Root: b.root, Client: b.api.Client(), View: b.api.View(), Sources: b.src, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = s
	if err := s.Register(b.t.Context(), b.info); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) publish(v *Volume) Made {
	b.t.Helper()
	made, err := b.s.Publish(b.t.Context(), v)
	if err != nil {
		b.t.Fatal(err)
	}
	return made
}

func (b *bench) teardown(uid uid) {
	b.t.Helper()
	if err := b.s.Teardown(b.t.Context(), uid); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) want(calls ...string) {
	b.t.Helper()
	if got := b.f.asked(); !slices.Equal(got, calls) {
		b.t.Fatalf("the driver was asked %q, want %q", got, calls)
	}
}

func podOf(id string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p-" + id, UID: uid(id)}}
	p.Spec.ServiceAccountName = "sa"
	return p
}

func pvOf() *core.PersistentVolume {
	return &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv1"}, Spec: core.PersistentVolumeSpec{
		AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce}, Capacity: core.ResourceList{core.ResourceStorage: resource.MustParse("2Gi")},
		PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{
			Driver: "fake", VolumeHandle: "h1", FSType: "ext4", NodeStageSecretRef: &core.SecretReference{Namespace: "kube-system", Name: "s"},
		}},
	}}
}

func detached() *storage.CSIDriver {
	return &storage.CSIDriver{Spec: storage.CSIDriverSpec{AttachRequired: new(false), VolumeLifecycleModes: []storage.VolumeLifecycleMode{storage.VolumeLifecyclePersistent}}}
}

const stages = csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME

func TestRegistration(t *testing.T) {
	b := newBench(t, nil)
	look := func() (*storage.CSINode, *core.Node) {
		t.Helper()
		c, err := client.Get[storage.CSINode](t.Context(), b.api.Client(), object.Key{Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		n, err := client.Get[core.Node](t.Context(), b.api.Client(), object.Key{Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		return c, n
	}
	c, n := look()
	if d := c.Spec.Drivers; len(d) != 1 || d[0].NodeID != "id-1" || *d[0].Allocatable.Count != 7 || !slices.Equal(d[0].TopologyKeys, []string{"fake/rack", "fake/zone"}) {
		t.Errorf("CSINode says %+v", d)
	}
	if len(c.OwnerReferences) != 1 || c.OwnerReferences[0].UID != n.UID {
		t.Errorf("the CSINode belongs to %v", c.OwnerReferences)
	}
	if n.Labels["fake/zone"] != "z1" || n.Annotations[nodeIDs] != `{"fake":"id-1"}` {
		t.Errorf("the node has labels %v, annotations %v", n.Labels, n.Annotations)
	}
	b.api.Writes()
	if err := b.s.Register(t.Context(), b.info); err != nil {
		t.Fatal(err)
	}
	if w := b.api.Writes(); len(w) != 0 {
		t.Errorf("a driver that comes again is written: %v", w)
	}
	b.s.Deregister(plugin.Info{Name: "fake", Endpoint: "/another"}) // the old pod of an update
	if c, _ := look(); len(c.Spec.Drivers) != 1 {
		t.Error("the driver went with a socket that was not its own")
	}
	b.s.Deregister(b.info)
	if c, n := look(); len(c.Spec.Drivers) != 0 || n.Annotations[nodeIDs] != "" || n.Labels["fake/zone"] != "z1" {
		t.Errorf("afterwards: %+v, %v", c.Spec.Drivers, n.ObjectMeta)
	}
	for versions, ok := range map[string]bool{"1.5.0": true, "0.3.0": false, "2.0.0": false, "": false} {
		if err := b.s.Validate(plugin.Info{Name: "d", Versions: strings.Fields(versions)}); (err == nil) != ok {
			t.Errorf("versions %q: %v", versions, err)
		}
	}
}

func TestStagedOncePublishedForEachPod(t *testing.T) {
	b := newBench(t, detached(), stages)
	v1, v2 := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}, &Volume{Pod: podOf("u2"), PV: pvOf(), Name: "pv1"}
	v1.Pod.Spec.SecurityContext = &core.PodSecurityContext{FSGroup: new(int64(5))}
	made := b.publish(v1)
	if made.Path != filepath.Join(b.root, "pods/u1/volumes/kubernetes.io~csi/pv1/mount") || !made.New || !made.Own {
		t.Errorf("made %+v", made)
	}
	if made := b.publish(v1); made.New || made.Own {
		t.Errorf("made again: %+v", made)
	}
	b.publish(v2)
	b.want("stage h1 kube-system/s", "publish h1", "publish h1")
	if got := b.f.last.StagingTargetPath; !strings.HasSuffix(got, "/globalmount") || !strings.HasPrefix(got, filepath.Join(b.root, "plugins/kubernetes.io/csi/fake")) {
		t.Errorf("staged at %s", got)
	}
	b.restart()
	b.publish(v1)
	b.want() // nothing is mounted again
	b.teardown("u1")
	b.want("unpublish h1")
	b.restart()
	b.teardown("u2")
	b.want("unpublish h1", "unstage h1")
	for _, dir := range []string{"plugins/kubernetes.io/csi/fake", "pods/u1/volumes/kubernetes.io~csi", "pods/u2/volumes/kubernetes.io~csi"} {
		if left := names(filepath.Join(b.root, dir)); len(left) > 0 {
			t.Errorf("%s still has %v", dir, left)
		}
	}
	b.teardown("u2") // again
}

func TestMountsThatAreGoneAreMadeAgain(t *testing.T) {
	b := newBench(t, detached(), stages)
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	target := b.publish(v).Path
	staged := b.f.last.StagingTargetPath
	for _, path := range []string{target, staged} { // as stopping the node does
		if err := unix.Unmount(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.f.asked()
	b.restart()
	b.publish(v)
	b.want("stage h1 kube-system/s", "publish h1")
	b.teardown("u1")
}

func TestOrphanIsUnstaged(t *testing.T) {
	b := newBench(t, detached(), stages)
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	target := b.publish(v).Path
	if err := unix.Unmount(target, 0); err != nil { // its pod went while no kubelet was there
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.root, "pods")); err != nil {
		t.Fatal(err)
	}
	b.f.asked()
	b.restart()
	b.want("unstage h1")
}

func TestFailedPublishLeavesNothing(t *testing.T) {
	b := newBench(t, detached())
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	b.f.fail = status.Error(codes.Internal, "no disk")
	if _, err := b.s.Publish(t.Context(), v); status.Code(err) != codes.Internal {
		t.Fatalf("got %v", err)
	}
	b.publish(v)
	b.want("publish h1", "publish h1")
	b.teardown("u1")
	b.want("unpublish h1")
}

func TestInlineVolumeAndWhatItIsTold(t *testing.T) {
	about := &storage.CSIDriver{Spec: storage.CSIDriverSpec{
		PodInfoOnMount: new(true), TokenRequests: []storage.TokenRequest{{Audience: "vault"}}, RequiresRepublish: new(true),
		VolumeLifecycleModes: []storage.VolumeLifecycleMode{storage.VolumeLifecycleEphemeral},
	}}
	b := newBench(t, about, stages)
	v := &Volume{Pod: podOf("u1"), Name: "scratch", Source: &core.CSIVolumeSource{Driver: "fake", VolumeAttributes: map[string]string{"size": "1"}, NodePublishSecretRef: &core.LocalObjectReference{Name: "s"}}}
	made := b.publish(v)
	if until := time.Until(made.Renew); until <= 0 || until > republish {
		t.Errorf("to be published again in %v", until)
	}
	got := b.f.last
	if got.VolumeContext["csi.storage.k8s.io/pod.name"] != "p-u1" || got.VolumeContext["csi.storage.k8s.io/ephemeral"] != "true" ||
		got.VolumeContext["size"] != "1" || got.Secrets["key"] != "ns/s" || !strings.Contains(got.VolumeContext[tokensKey], `"vault":{"token":"token for vault"`) {
		t.Errorf("the driver was told %v", got)
	}
	handle := v.handle()
	b.want("publish " + handle) // not staged
	b.s.use(device{"fake", handle}).pods["u1"] = time.Now().Add(-time.Hour)
	b.publish(v)
	b.want("publish " + handle)
	if _, err := b.s.Publish(t.Context(), &Volume{Pod: podOf("u2"), PV: pvOf(), Name: "pv1"}); err == nil ||
		!strings.Contains(err.Error(), `volume mode "Persistent" not supported by driver fake (only supports ["Ephemeral"])`) {
		t.Errorf("a persistent volume: %v", err)
	}
	b.teardown("u1")
	b.want("unpublish " + handle)
}

func TestBlockVolume(t *testing.T) {
	b := newBench(t, detached(), stages)
	pv := pvOf()
	pv.Spec.VolumeMode = new(core.PersistentVolumeBlock)
	v := &Volume{Pod: podOf("u1"), PV: pv, Name: "pv1"}
	made := b.publish(v)
	if to, err := os.Readlink(made.Path); err != nil || to != filepath.Join(b.root, "plugins/kubernetes.io/csi/volumeDevices/publish/pv1/u1") {
		t.Errorf("%s leads to %q, %v", made.Path, to, err)
	}
	b.restart()
	b.publish(v)
	b.want("stage h1 kube-system/s", "publish h1")
	if err := unix.Unmount(b.s.blockTarget("pv1", "u1"), 0); err != nil { // somebody cleans up
		t.Fatal(err)
	}
	b.publish(v)
	b.want("publish h1")
	b.teardown("u1")
	b.want("unpublish h1", "unstage h1")
	for _, dir := range []string{"publish", "staging", "pv1"} {
		if left := names(filepath.Join(b.root, "plugins/kubernetes.io/csi/volumeDevices", dir)); len(left) > 0 {
			t.Errorf("%s still has %v", dir, left)
		}
	}
}

func TestAttachedFirst(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	published := make(chan error, 1)
	go func() { _, err := b.s.Publish(ctx, v); published <- err }()
	node := func() *core.Node {
		n, ok := client.Lookup[core.Node](b.api.View(), object.Key{Name: "n1"})
		if !ok {
			t.Fatal("no node")
		}
		return n
	}
	const unique = core.UniqueVolumeName("kubernetes.io/csi/fake^h1")
	for i := 0; !slices.Contains(node().Status.VolumesInUse, unique); i++ {
		if i == 1000 {
			t.Fatal("the node does not say that the volume is in use")
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.want()
	b.src.mu.Lock()
	b.src.at[attachment(device{"fake", "h1"}, "n1")] = &storage.VolumeAttachment{Status: storage.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"lun": "3"}}}
	b.src.mu.Unlock()
	n := object.Clone(node())
	n.Status.VolumesAttached = []core.AttachedVolume{{Name: unique}}
	if _, err := client.UpdateStatus(t.Context(), b.api.Client(), n); err != nil {
		t.Fatal(err)
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	if b.f.last.PublishContext["lun"] != "3" {
		t.Errorf("told %v", b.f.last.PublishContext)
	}
	b.teardown("u1")
	if got := node().Status.VolumesInUse; len(got) > 0 {
		t.Errorf("still in use: %v", got)
	}
	b.want("publish h1", "unpublish h1")
}

func TestGrowAndUsage(t *testing.T) {
	b := newBench(t, detached(), stages, csi.NodeServiceCapability_RPC_EXPAND_VOLUME, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS)
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	b.publish(v)
	b.f.asked()
	if can, err := b.s.Grows(v); err != nil || !can {
		t.Errorf("grows: %v, %v", can, err)
	}
	if err := b.s.Grow(t.Context(), v, v.PV.Spec.Capacity["storage"]); err != nil {
		t.Errorf("grown: %v", err)
	}
	b.want("expand h1 2Gi")
	if u, err := b.s.Usage(t.Context(), v); err != nil || *u.Total != 30 || *u.Used != 10 || *u.Free != 20 || u.Inodes != nil {
		t.Errorf("usage %+v, %v", u, err)
	}
	b.teardown("u1")
}

// The scheduler is not asked where a pod names its node.
func TestOnePodOnly(t *testing.T) {
	b := newBench(t, detached())
	pv := pvOf()
	pv.Spec.AccessModes = []core.PersistentVolumeAccessMode{core.ReadWriteOncePod}
	first, second := &Volume{Pod: podOf("u1"), PV: pv, Name: "pv1"}, &Volume{Pod: podOf("u2"), PV: pv, Name: "pv1"}
	b.publish(first)
	refused := func() {
		t.Helper()
		_, err := b.s.Publish(context.Background(), second)
		if want := "volume uses the ReadWriteOncePod access mode and is already in use by another pod"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused()
	b.publish(first)
	b.restart()
	refused()
	b.teardown("u1")
	b.publish(second)
	b.teardown("u2")
	b.want("publish h1", "unpublish h1", "publish h1", "unpublish h1")
}

func TestOperationsAreCounted(t *testing.T) {
	b := newBench(t, detached(), stages)
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	b.publish(v)
	b.teardown("u1")
	var page prom.Page
	b.s.Operations.Page(&page)
	for _, want := range []string{
		`storage_operation_duration_seconds_count{volume_plugin="kubernetes.io/csi:fake",operation_name="volume_unmount",status="success",migrated="false"} 1`,
		`storage_operation_duration_seconds_count{volume_plugin="kubernetes.io/csi:fake",operation_name="unmount_device",status="success",migrated="false"} 1`,
		`csi_operations_seconds_count{driver_name="fake",method_name="/csi.v1.Node/NodeStageVolume",grpc_status_code="OK",migrated="false"} 1`,
		`csi_operations_seconds_count{driver_name="fake",method_name="/csi.v1.Node/NodeUnpublishVolume",grpc_status_code="OK",migrated="false"} 1`,
	} {
		if !strings.Contains(page.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &page)
		}
	}
}

// A pod is not kept by what is made once for all: the driver is asked again later, and the next pod has it staged anew.
func TestUnstageIsTriedAgain(t *testing.T) {
	b := newBench(t, detached(), stages)
	v1, v2 := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}, &Volume{Pod: podOf("u2"), PV: pvOf(), Name: "pv1"}
	b.publish(v1)
	b.f.stuck = status.Error(codes.DeadlineExceeded, "not now")
	b.teardown("u1")
	b.publish(v2)
	b.want("stage h1 kube-system/s", "publish h1", "unpublish h1", "unstage h1", "stage h1 kube-system/s", "publish h1")
	if err := unix.Unmount(b.f.last.StagingTargetPath, 0); err != nil { // the driver has mounted twice
		t.Fatal(err)
	}
	b.f.mu.Lock()
	b.f.stuck = status.Error(codes.Internal, "not now either")
	b.f.mu.Unlock()
	b.teardown("u2")
	b.want("unpublish h1", "unstage h1")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for i := 0; len(names(filepath.Join(b.root, "plugins/kubernetes.io/csi/fake"))) > 0; i++ {
		if i == 1000 {
			t.Fatal("it stays staged")
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.want("unstage h1")
}

// A driver may say that its volumes are not to be attached, after all.
func TestNotAttachedAnyMore(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	v := &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}
	published := make(chan error, 1)
	go func() { _, err := b.s.Publish(ctx, v); published <- err }()
	inUse := func(want int) {
		t.Helper()
		for i := 0; ; i++ {
			if n, ok := client.Lookup[core.Node](b.api.View(), object.Key{Name: "n1"}); ok && len(n.Status.VolumesInUse) == want {
				return
			}
			if i == 1000 {
				t.Fatalf("the node does not have %d volumes in use", want)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	inUse(1)
	about := detached()
	about.Name = "fake"
	b.src.mu.Lock()
	b.src.drivers["fake"] = about
	b.src.mu.Unlock()
	b.api.Put(about)
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	inUse(0)
	b.teardown("u1")
	b.want("publish h1", "unpublish h1")
}

// forgetful answers that a write of the node's status failed, which it did not.
type forgetful struct {
	client.Client
	times atomic.Int32
}

func (f *forgetful) Patch(ctx context.Context, t client.Target, p client.Patch, o metav1.PatchOptions) (object.Object, error) {
	out, err := f.Client.Patch(ctx, t, p, o)
	if err == nil && t.Sub == "status" && f.times.Add(-1) >= 0 {
		return nil, context.Canceled
	}
	return out, err
}

// A pod that goes while its volume is told to be in use gives up waiting for the answer: the volume must not stay in use for that.
func TestVolumesInUseAfterAnUnknownAnswer(t *testing.T) {
	b := newBench(t, nil)
	f := &forgetful{Client: b.api.Client()}
	f.times.Store(1)
	b.s.Client = f
	used := func() []core.UniqueVolumeName {
		n, err := client.Get[core.Node](t.Context(), b.api.Client(), object.Key{Name: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		return n.Status.VolumesInUse
	}
	if _, err := b.s.Publish(t.Context(), &Volume{Pod: podOf("u1"), PV: pvOf(), Name: "pv1"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if got := used(); len(got) != 1 {
		t.Fatalf("in use: %v", got)
	}
	b.teardown("u1")
	if got := used(); len(got) > 0 {
		t.Errorf("still in use: %v", got)
	}
}
