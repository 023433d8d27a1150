package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"proa.dev/test/machine"
)

const storePod = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4321}
  containers:
  - name: store
    image: docker.io/proa/shop-store:v1
    env: [{name: STORE_PASSWORD, value: x}]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    %[2]s
`

// TestLocalVolume asks for a volume of the default class: it is made on the node with its first pod, kept while pods come and go and the
// daemon is killed, grows, and goes with its claim.
func TestLocalVolume(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	before := c.inventory()
	c.apply(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}`)
	use := fmt.Sprintf(storePod, "first", "persistentVolumeClaim: {claimName: data}")
	c.apply(use)
	c.kubectl("wait", "--for=condition=Ready", "pod/first", "--timeout=60s")
	name := c.kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	dir := filepath.Join(c.Dir, "data", "volumes", name)
	if i, err := os.Stat(dir); err != nil || i.Mode()&fs.ModeSetgid == 0 {
		t.Fatalf("the directory is %v, %v; want one of the pod's group", i, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mark"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.kubectl("delete", "pod", "first")
	c.apply(strings.Replace(use, "name: first", "name: second", 1))
	c.kubectl("wait", "--for=condition=Ready", "pod/second", "--timeout=60s")
	if out, err := os.ReadFile(filepath.Join(dir, "mark")); err != nil || string(out) != "x" {
		t.Errorf("what was written is %q, %v", out, err)
	}
	c.killDaemon()
	c.proa("up")
	c.kubectl("patch", "pvc", "data", "-p", `{"spec":{"resources":{"requests":{"storage":"2Mi"}}}}`)
	c.eventually(30*time.Second, "the volume grows", func() bool {
		return c.kubectl("get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}") == "2Mi"
	})
	if got := c.kubectl("get", "pod", "second", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != "0" {
		t.Errorf("the pod restarted %s times", got)
	}
	c.kubectl("delete", "pod", "second")
	c.kubectl("delete", "pvc", "data")
	c.eventually(30*time.Second, "the volume goes with its claim", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err) && c.kubectl("get", "pv", "-o", "name") == ""
	})
	c.inventoryIs(before)
}

// TestDriverOfAnother runs a CSI driver beside the kubelet: registration, attachment (the test is the attacher), staging, a volume for two
// pods, an inline volume, the daemon killed in between.
func TestDriverOfAnother(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	before := c.inventory()
	d := c.drive("test.example.com")
	c.apply(`
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: test.example.com}
spec: {attachRequired: true, podInfoOnMount: true, fsGroupPolicy: File, volumeLifecycleModes: [Persistent, Ephemeral]}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: theirs}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Mi}
  storageClassName: ""
  claimRef: {namespace: default, name: theirs}
  csi: {driver: test.example.com, volumeHandle: h1}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: theirs}
spec: {storageClassName: "", volumeName: theirs, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}`)
	for _, name := range []string{"first", "second"} {
		c.apply(fmt.Sprintf(storePod, name, "persistentVolumeClaim: {claimName: theirs}"))
	}
	c.apply(fmt.Sprintf(storePod, "inline", "csi: {driver: test.example.com}"))
	c.eventually(30*time.Second, "the volume is to be attached", func() bool { return c.kubectl("get", "volumeattachments", "-o", "name") != "" })
	if calls := d.asked(); slices.Contains(calls, "stage h1") {
		t.Errorf("staged before it is attached: %v", calls)
	}
	attachment := c.kubectl("get", "volumeattachments", "-o", "name")
	c.kubectl("patch", attachment, "--subresource=status", "--type=merge", "-p", `{"status":{"attached":true}}`)
	for _, name := range []string{"first", "second", "inline"} {
		c.kubectl("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	}
	calls := d.asked()
	if n := len(slices.DeleteFunc(slices.Clone(calls), func(s string) bool { return s != "stage h1" })); n != 1 {
		t.Errorf("staged %d times: %v", n, calls)
	}
	c.killDaemon()
	c.proa("up")
	c.eventually(30*time.Second, "the driver is found again", func() bool { return slices.Contains(d.asked(), "info") })
	c.kubectl("delete", "pod", "first", "inline")
	if calls := d.asked(); slices.ContainsFunc(calls, func(s string) bool { return !strings.HasPrefix(s, "unpublish ") }) || len(calls) != 2 {
		t.Errorf("after the daemon was killed and two of three pods went: %v", calls)
	}
	c.kubectl("delete", "pod", "second")
	if calls := d.asked(); !slices.Equal(calls, []string{"unpublish h1", "unstage h1"}) {
		t.Errorf("after the last pod: %v", calls)
	}
	c.eventually(30*time.Second, "the volume is detached", func() bool { return c.kubectl("get", "volumeattachments", "-o", "name") == "" })
	c.inventoryIs(before)
}

// driver is a CSI driver whose volumes are directories.
type driver struct {
	csi.UnimplementedNodeServer
	registration.UnimplementedRegistrationServer
	name, socket, dir string

	mu    sync.Mutex // guards calls
	calls []string
}

// drive starts a driver beside the kubelet.
func (c *cluster) drive(name string) *driver {
	c.t.Helper()
	root := filepath.Join(c.Dir, "kubelet")
	d := &driver{name: name, socket: filepath.Join(root, "plugins", "t.sock"), dir: c.t.TempDir()}
	s := grpc.NewServer()
	csi.RegisterNodeServer(s, d)
	registration.RegisterRegistrationServer(s, d)
	for _, path := range []string{d.socket, filepath.Join(root, "plugins_registry", "t.sock")} { // the second when the first is there
		l, err := net.Listen("unix", path)
		if err != nil {
			c.t.Fatal(err)
		}
		go func() { _ = s.Serve(l) }()
	}
	c.t.Cleanup(s.Stop)
	return d
}

func (d *driver) note(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, call)
}

// asked is what the driver was asked since the last time.
func (d *driver) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.calls
	d.calls = nil
	return out
}

func (d *driver) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: d.name, Endpoint: d.socket, SupportedVersions: []string{"1.0.0"}}, nil
}

func (d *driver) NotifyRegistrationStatus(context.Context, *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	return &registration.RegistrationStatusResponse{}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	d.note("info")
	return &csi.NodeGetInfoResponse{NodeId: "box"}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{Type: &csi.NodeServiceCapability_Rpc{
		Rpc: &csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME},
	}}}}, nil
}

func (d *driver) NodeStageVolume(_ context.Context, q *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	d.note("stage " + q.VolumeId)
	return &csi.NodeStageVolumeResponse{}, bind(filepath.Join(d.dir, q.VolumeId), q.StagingTargetPath)
}

func (d *driver) NodeUnstageVolume(_ context.Context, q *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	d.note("unstage " + q.VolumeId)
	return &csi.NodeUnstageVolumeResponse{}, unix.Unmount(q.StagingTargetPath, 0)
}

func (d *driver) NodePublishVolume(_ context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if q.StagingTargetPath == "" && q.VolumeContext["csi.storage.k8s.io/pod.name"] != "inline" {
		return nil, errors.New("the pod of an inline volume is not named")
	}
	d.note("publish " + q.VolumeId)
	return &csi.NodePublishVolumeResponse{}, bind(filepath.Join(d.dir, q.VolumeId), q.TargetPath)
}

func (d *driver) NodeUnpublishVolume(_ context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	d.note("unpublish " + q.VolumeId)
	return &csi.NodeUnpublishVolumeResponse{}, errors.Join(unix.Unmount(q.TargetPath, 0), os.Remove(q.TargetPath))
}

// bind makes a directory and binds it to a target.
func bind(dir, target string) error {
	return errors.Join(os.MkdirAll(dir, 0o777), os.MkdirAll(target, 0o755), unix.Mount(dir, target, "", unix.MS_BIND, ""))
}

// TestLocalVolumeElsewhere has the pod, and so its volume, on a node that is no server: the agent makes and removes the files, with a node's
// rights and no more.
func TestLocalVolumeElsewhere(t *testing.T) {
	c := newCluster(t, "")
	boat := c.beside()
	c.up()
	file := filepath.Join(boat.Dir, "server.kubeconfig")
	if err := os.WriteFile(file, []byte(c.proa("kubeconfig", "--node=boat", "--node-ip="+machine.PeerIP)), 0o600); err != nil {
		t.Fatal(err)
	}
	boat.agent(file)
	c.eventually(30*time.Second, "the agent registers", func() bool { return strings.Contains(c.kubectl("get", "nodes", "-o", "name"), "node/boat") })
	c.kubectl("wait", "--for=condition=Ready", "node/boat", "--timeout=60s")
	boat.importImages(c.Bin + "/images/shop-store.tar")
	before := boat.inventory()
	c.apply(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}`)
	c.apply(fmt.Sprintf(strings.Replace(storePod, "  volumes:\n", "  nodeSelector: {kubernetes.io/hostname: boat}\n  volumes:\n", 1), "first", "persistentVolumeClaim: {claimName: data}"))
	c.kubectl("wait", "--for=condition=Ready", "pod/first", "--timeout=60s")
	volumes := filepath.Join(boat.Dir, "data", "volumes")
	name := c.kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
	if _, err := os.Stat(filepath.Join(volumes, name)); err != nil {
		t.Error(err)
	}
	c.kubectl("delete", "pod", "first")
	c.kubectl("delete", "pvc", "data")
	c.eventually(30*time.Second, "the files go with the claim", func() bool {
		left, err := os.ReadDir(volumes)
		return err == nil && len(left) == 0 && c.kubectl("get", "pv", "-o", "name") == ""
	})
	boat.inventoryIs(before)
}
