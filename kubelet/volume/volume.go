package volume

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	podresources "k8s.io/component-helpers/resource"

	"proa.dev/kubelet/csi"
	"proa.dev/kubelet/lun"
	"proa.dev/kubelet/podcert"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// Certificates are how pods get theirs.
type Certificates = podcert.Deps

// Deps are what Volumes needs.
type Deps struct {
	Node    *spec.Node
	Sources Sources
	Drivers *Drivers // of CSI; nil: there are none
	Events  Recorder // nil: nothing is told
	// Certificates gets those that pods want; nil: they cannot have any.
	Certificates *Certificates
	Log          *slog.Logger
}

// Drivers is the CSI drivers of the node.
type Drivers = csi.Drivers

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
}

// Sources finds what volumes are made of.
type Sources interface {
	spec.Sources
	Claim(namespace, name string) (*core.PersistentVolumeClaim, error)
	Volume(name string) (*core.PersistentVolume, error)
	// Token asks for a token of the pod's service account, bound to the pod, for one audience ("" is the API server's), valid about
	// so many seconds.
	Token(ctx context.Context, pod *core.Pod, audience string, seconds int64) (string, error)
	// Bundles are the ClusterTrustBundles there are. A pod that shows some is told when there are others.
	Bundles() ([]*certificates.ClusterTrustBundle, error)
	// FollowsClaims says whether a pod is told when a claim of it changes, FollowsFiles the same of its ConfigMaps and Secrets.
	FollowsClaims() bool
	FollowsFiles() bool
	// Tell changes the status of a claim. change works on a copy of what it is now, and says whether there is something to write.
	Tell(ctx context.Context, claim *core.PersistentVolumeClaim, change func(*core.PersistentVolumeClaim) bool) error
}

// Volumes makes and removes the volumes of pods. Its methods are safe for concurrent use, for different pods.
type Volumes struct {
	Deps
	memory func() error    // mounts the tmpfs for secrets, once
	noSwap string          // the option of tmpfs that keeps it in memory
	seed   maphash.Seed    // orders the certificates of trust bundles
	certs  *podcert.Keeper // nil: there are none

	operations *csi.Operations

	mu    sync.Mutex // guards known
	known map[types.UID][]known
	disks *lun.Disks // of storage networks
}

// New starts nothing.
func New(d Deps) (*Volumes, error) {
	v := &Volumes{Deps: d, seed: maphash.MakeSeed(), known: map[types.UID][]known{}, operations: new(csi.Operations)}
	if d.Drivers != nil {
		v.operations = &d.Drivers.Operations
	}
	if d.Certificates != nil {
		v.certs = podcert.New(*d.Certificates)
	}
	if keepsTmpfs() {
		v.noSwap = ",noswap"
	}
	v.memory = sync.OnceValue(v.mountMemory)
	var err error
	v.disks, err = lun.New(lun.Deps{Root: d.Node.Root, Secrets: d.Sources, Log: d.Log})
	return v, err
}

// Error says which volume could not be made, by the name that messages have for it.
type Error struct {
	Volume string
	Err    error

	block bool   // it was to be a device
	step  string // what failed, if Err does not say it
}

func (e *Error) Error() string {
	if e.unprocessed() {
		return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%[1]s]: %v", e.Volume, e.Err)
	}
	var staging *csi.Unstaged
	var at interface{ Step() string }
	step := e.step
	switch {
	case errors.As(e.Err, &at):
		step = at.Step()
	case !errors.As(e.Err, &staging):
	case e.block:
		step = "MapVolume.SetUpDevice"
	default:
		step = "MountVolume.MountDevice"
	}
	return fmt.Sprintf("%s failed for volume %q : %v", step, e.Volume, e.Err)
}

// Reason is that of its event.
func (e *Error) Reason() string {
	if e.block && !e.unprocessed() {
		return "FailedMapVolume"
	}
	return "FailedMount"
}

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) unprocessed() bool {
	var u *unprocessed
	return errors.As(e.Err, &u)
}

// Sync makes the volumes of the pod that containers use, or brings them up to date, and says when it has to be called again (zero: never).
// Every volume is tried; the error joins an *Error for each that failed.
func (v *Volumes) Sync(ctx context.Context, pod *core.Pod, now time.Time) (renew time.Time, err error) {
	type result struct {
		at  time.Time
		err error
	}
	results := make([]result, len(pod.Spec.Volumes))
	var drivers sync.WaitGroup
	used := usedBy(pod)
	for i := range pod.Spec.Volumes {
		vol, r := &pod.Spec.Volumes[i], &results[i]
		if used[vol.Name] == 0 {
			continue
		}
		do := func() {
			began := time.Now()
			v.begin(pod, i, began)
			r.at, r.err = v.one(ctx, pod, vol, now)
			v.end(pod, i, began, r.err)
		}
		if vol.PersistentVolumeClaim != nil || vol.Ephemeral != nil || vol.CSI != nil || vol.NFS != nil || lun.Is(&vol.VolumeSource, nil) { // others may be slow: all at once
			drivers.Go(do)
		} else {
			do()
		}
	}
	drivers.Wait()
	var errs []error
	for i, r := range results {
		if r.err != nil {
			e := &Error{Volume: pod.Spec.Volumes[i].Name, Err: r.err}
			if !e.unprocessed() {
				e.Volume = v.nameOf(pod, &pod.Spec.Volumes[i])
				e.block, e.step = v.step(pod, i)
			}
			errs = append(errs, e)
		}
		if !r.at.IsZero() && (renew.IsZero() || r.at.Before(renew)) {
			renew = r.at
		}
	}
	return renew, errors.Join(errs...)
}

func (v *Volumes) one(ctx context.Context, pod *core.Pod, vol *core.Volume, now time.Time) (time.Time, error) {
	switch {
	case vol.EmptyDir != nil:
		return time.Time{}, v.emptyDir(pod, vol)
	case vol.HostPath != nil:
		return time.Time{}, checkHostPath(vol.HostPath.Path, vol.HostPath.Type)
	case vol.ConfigMap != nil, vol.Secret != nil, vol.DownwardAPI != nil, vol.Projected != nil:
		return v.files(ctx, pod, vol, now)
	case vol.PersistentVolumeClaim != nil, vol.Ephemeral != nil:
		return v.claimed(ctx, pod, vol)
	case vol.CSI != nil:
		return v.publish(ctx, pod, &csi.Volume{Pod: pod, Source: vol.CSI, Name: vol.Name})
	case vol.NFS != nil:
		return time.Time{}, v.nfs(ctx, v.nfsDir(pod, vol.Name), vol.NFS, nil)
	case lun.Is(&vol.VolumeSource, nil):
		return time.Time{}, v.fromNetwork(ctx, v.inlineDisk(pod, vol))
	case vol.Image != nil:
		return time.Time{}, nil // the runtime mounts it
	}
	return time.Time{}, unknown(&vol.VolumeSource, nil)
}

// Driven says whether a driver may have to make a volume of the pod, so that the pod may wait for it.
func (v *Volumes) Driven(pod *core.Pod) bool { return csi.Uses(pod) }

// Counted is where a volume lies whose size is the pod's business: not a directory of the host's, nor an image.
func (v *Volumes) Counted(pod *core.Pod, vol *core.Volume) (path string, ok bool) {
	if vol.HostPath != nil || vol.Image != nil {
		return "", false
	}
	if vol.PersistentVolumeClaim != nil || vol.Ephemeral != nil {
		if pv, _, err := v.bound(pod, vol); err != nil || isBlock(pv) {
			return "", false
		}
	}
	path, _, err := v.Path(pod, vol)
	return path, err == nil
}

// Path is where a volume of the pod lies on the node, and whether it may only be read.
func (v *Volumes) Path(pod *core.Pod, vol *core.Volume) (path string, readOnly bool, err error) {
	switch {
	case vol.EmptyDir != nil:
		return v.dir(pod.UID, "empty-dir", vol.Name), false, nil
	case vol.HostPath != nil:
		return vol.HostPath.Path, false, nil
	case vol.ConfigMap != nil:
		return v.dir(pod.UID, "configmap", vol.Name), true, nil
	case vol.DownwardAPI != nil:
		return v.dir(pod.UID, "downward-api", vol.Name), true, nil
	case vol.Secret != nil, vol.Projected != nil:
		return filepath.Join(v.memoryDir(), string(pod.UID), vol.Name), true, nil
	case vol.PersistentVolumeClaim != nil, vol.Ephemeral != nil:
		return v.claim(pod, vol)
	case vol.NFS != nil:
		return v.nfsDir(pod, vol.Name), vol.NFS.ReadOnly, nil
	case lun.Is(&vol.VolumeSource, nil):
		d := v.inlineDisk(pod, vol)
		return v.disks.Path(d), d.ReadOnly, nil
	case vol.CSI != nil && v.Drivers != nil:
		return v.Drivers.Path(&csi.Volume{Pod: pod, Source: vol.CSI, Name: vol.Name}), vol.CSI.ReadOnly != nil && *vol.CSI.ReadOnly, nil
	}
	return "", false, errors.New("no volume plugin matched")
}

func (v *Volumes) dir(uid types.UID, plugin, name string) string {
	return filepath.Join(v.Node.PodDir(uid), "volumes", "kubernetes.io~"+plugin, name)
}

func (v *Volumes) memoryDir() string { return filepath.Join(v.Node.Root, "memory") }

// Prepare mounts the one tmpfs that holds what must not touch a disk, so that the node's mounts are the same with pods and without.
// Safe to repeat.
func (v *Volumes) Prepare() error {
	if v.noSwap == "" && v.Node.Swap > 0 && v.Events != nil {
		v.Events.Event(&core.Node{ObjectMeta: metav1.ObjectMeta{Name: v.Node.Name, UID: types.UID(v.Node.Name)}}, core.EventTypeWarning, "PossibleMemoryBackedVolumesOnDisk",
			"The tmpfs noswap option is not supported. Memory-backed volumes (e.g. secrets, emptyDirs, etc.) might be swapped to disk and should no longer be considered secure.")
	}
	return v.mountMemory()
}

func (v *Volumes) mountMemory() error {
	dir := v.memoryDir()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	if isTmpfs(dir) {
		return nil
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=0711"+v.noSwap)
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		v.Log.Warn("secrets lie on disk: mounting tmpfs needs root", "dir", dir)
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs for secrets at %s: %w", dir, err)
	}
	return nil
}

// keepsTmpfs says whether a tmpfs can be kept out of swap: since Linux 6.4.
func keepsTmpfs() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return n == 2 && (major > 6 || major == 6 && minor >= 4)
}

func isTmpfs(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.TMPFS_MAGIC && isMountPoint(dir)
}

// isMountPoint asks statx, which knows bind mounts too.
func isMountPoint(path string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_DONT_SYNC, 0, &s) // no question to a server that may be gone
	return err == nil && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func (v *Volumes) emptyDir(pod *core.Pod, vol *core.Volume) error {
	dir := v.dir(pod.UID, "empty-dir", vol.Name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	switch err := os.Mkdir(dir, 0o777); {
	case err == nil:
	case errors.Is(err, os.ErrExist):
		if vol.EmptyDir.Medium != core.StorageMediumMemory && !isHuge(vol.EmptyDir.Medium) || isMountPoint(dir) {
			return nil
		}
	default:
		return err
	}
	if isHuge(vol.EmptyDir.Medium) {
		if err := mountHuge(pod, vol.EmptyDir.Medium, dir); err != nil {
			return errors.Join(err, os.Remove(dir))
		}
	}
	if vol.EmptyDir.Medium == core.StorageMediumMemory {
		opts := "mode=0777" + v.noSwap
		if size := v.tmpfsSize(pod, vol); size > 0 {
			opts += ",size=" + strconv.FormatInt(size, 10)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, opts); err != nil {
			return errors.Join(fmt.Errorf("mount tmpfs: %w", err), os.Remove(dir))
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil { // whatever the umask
		return err
	}
	return v.own(pluginOf(&vol.VolumeSource, nil), dir, pod, false)
}

// tmpfsSize is the least of the volume's limit, the pod's memory limit and the node's memory.
func (v *Volumes) tmpfsSize(pod *core.Pod, vol *core.Volume) int64 {
	size := v.Node.Allocatable.Memory().Value()
	less := func(n int64) {
		if n > 0 && (size == 0 || n < size) {
			size = n
		}
	}
	limited := true
	for i := range pod.Spec.Containers {
		limited = limited && !pod.Spec.Containers[i].Resources.Limits.Memory().IsZero()
	}
	if limited {
		limits := podresources.PodLimits(pod, podresources.PodResourcesOptions{})
		less(limits.Memory().Value())
	}
	if l := vol.EmptyDir.SizeLimit; l != nil {
		less(l.Value())
	}
	return size
}

// Teardown unmounts and removes the volumes of a pod; with all, everything of it on this node, the files of its containers too. A pod
// that has nothing is no error.
func (v *Volumes) Teardown(ctx context.Context, uid types.UID, all bool) error {
	if uid == "" || strings.ContainsAny(string(uid), "/.") {
		return fmt.Errorf("remove the volumes of pod %q: not a uid", uid)
	}
	if v.certs != nil {
		v.certs.Forget(uid)
	}
	pod := v.Node.PodDir(uid)
	dirs := []string{filepath.Join(v.memoryDir(), string(uid)), pod}
	if !all {
		dirs = []string{dirs[0], filepath.Join(pod, "volumes"), filepath.Join(pod, "volume-subpaths")}
	}
	// First what others mount, and without that nothing: their volumes are not ours to unmount.
	if err := unmountBeneath(filepath.Join(pod, "volume-subpaths")); err != nil {
		return err
	}
	if err := v.disks.Teardown(ctx, uid); err != nil {
		return err
	}
	if v.Drivers != nil {
		if err := v.Drivers.Teardown(ctx, uid); err != nil {
			return err
		}
	}
	began := time.Now()
	err := remove(dirs)
	v.gone(uid, began, err)
	return err
}

func remove(dirs []string) error {
	var errs []error
	for _, d := range dirs {
		if _, err := os.Lstat(d); os.IsNotExist(err) {
			continue
		}
		if err := unmountBeneath(d); err != nil {
			errs = append(errs, err) // and do not remove what may be somebody else's data
			continue
		}
		errs = append(errs, os.RemoveAll(d))
	}
	return errors.Join(errs...)
}

// Unused are the uids of pods that have something on disk and are not in keep.
func (v *Volumes) Unused(keep func(types.UID) bool) ([]types.UID, error) {
	var out []types.UID
	for _, dir := range []string{filepath.Join(v.Node.Root, "pods"), v.memoryDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, e := range entries {
			if uid := types.UID(e.Name()); e.IsDir() && !keep(uid) {
				out = append(out, uid)
			}
		}
	}
	return out, nil
}
