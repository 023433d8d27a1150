package csi

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"

	"proa.dev/kit/atomicfile"
)

// The parts of paths that Kubernetes made known.
const (
	pluginDir = "kubernetes.io~csi"
	dataFile  = "vol_data.json"
)

// device is a volume as its driver knows it.
type device struct{ driver, handle string }

// use is what is made of a device on this node.
type use struct {
	mu sync.Mutex // held while it is staged, published and taken away; guards all below

	staged   string                // path; "" is not staged
	ready    bool                  // NodeStageVolume has succeeded in this boot
	block    string                // name of the block volume, "" for a file system
	attached core.UniqueVolumeName // "" where nothing is attached
	pods     map[uid]time.Time     // that have it, and when it was published for them by this process; zero: by an earlier one
}

// record is vol_data.json. The first fields are those of Kubernetes, whose kubelet may take over.
type record struct {
	Name       string `json:"specVolID,omitempty"`
	Handle     string `json:"volumeHandle"`
	Driver     string `json:"driverName"`
	Node       string `json:"nodeName,omitempty"`
	Lifecycle  string `json:"volumeLifecycleMode,omitempty"`
	Attachment string `json:"attachmentID,omitempty"`
	Attached   string `json:"attachedVolume,omitempty"` // as the node's status has it
	Asked      string `json:"publishAsked,omitempty"`   // "true": NodePublishVolume was called
	Staged     string `json:"stagedInBoot,omitempty"`   // the boot in which NodeStageVolume succeeded
	Mounted    string `json:"stagedByMount,omitempty"`  // "true": by a mount at the staging path, which may have gone since
}

func (r *record) device() device { return device{r.Driver, r.Handle} }

// stillStaged says whether what NodeStageVolume did is still there. Where that is not certain it is asked for again.
func (r *record) stillStaged(path string) bool {
	return r.Staged == bootID() && (r.Mounted == "" || isMountPoint(path))
}

func readRecord(dir string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(dir, dataFile))
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, dataFile), err)
	}
	return r, nil
}

func (r *record) write(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, dataFile), text, 0o600)
}

// bootID tells a mount of this life of the machine from one before a reboot.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

func (s *Drivers) plugins() string { return filepath.Join(s.Root, "plugins", "kubernetes.io", "csi") }

// stageDir holds globalmount and vol_data.json of a file system volume.
func (s *Drivers) stageDir(d device) string {
	return filepath.Join(s.plugins(), d.driver, fmt.Sprintf("%x", sha256.Sum256([]byte(d.handle))))
}

func (s *Drivers) blockStage(name string) string {
	return filepath.Join(s.plugins(), "volumeDevices", "staging", name)
}

func (s *Drivers) blockTarget(name string, pod uid) string {
	return filepath.Join(s.plugins(), "volumeDevices", "publish", name, string(pod))
}

func (s *Drivers) blockData(name string) string {
	return filepath.Join(s.plugins(), "volumeDevices", name, "data")
}

func (s *Drivers) podVolumes(pod uid) string {
	return filepath.Join(s.Root, "pods", string(pod), "volumes", pluginDir)
}

func (s *Drivers) podDevices(pod uid) string {
	return filepath.Join(s.Root, "pods", string(pod), "volumeDevices", pluginDir)
}

// use is that of a device. s.mu must not be held.
func (s *Drivers) use(d device) *use {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.devices[d] == nil {
		s.devices[d] = &use{pods: map[uid]time.Time{}}
	}
	return s.devices[d]
}

// lock is the use of a device with its mutex held.
func (s *Drivers) lock(d device) *use {
	for {
		u := s.use(d)
		u.mu.Lock()
		if s.use(d) == u {
			return u
		}
		u.mu.Unlock() // it was released while we waited
	}
}

// recover reads what earlier processes have left on disk.
func (s *Drivers) recover() error {
	staged, err := filepath.Glob(filepath.Join(s.plugins(), "*", "*", dataFile))
	if err != nil {
		return err
	}
	for _, path := range staged {
		r, err := readRecord(filepath.Dir(path))
		if err != nil {
			s.Log.Warn("staged volume not read", "err", err)
			continue
		}
		u := s.use(r.device())
		u.staged = filepath.Join(filepath.Dir(path), "globalmount")
		u.ready = r.stillStaged(u.staged)
	}
	blocks, err := filepath.Glob(filepath.Join(s.plugins(), "volumeDevices", "*", "data", dataFile))
	if err != nil {
		return err
	}
	for _, path := range blocks {
		r, err := readRecord(filepath.Dir(path))
		if err != nil {
			s.Log.Warn("staged volume not read", "err", err)
			continue
		}
		u := s.use(r.device())
		u.block, u.staged = r.Name, s.blockStage(r.Name)
		u.ready = r.stillStaged(u.staged)
	}
	return s.recoverPods()
}

func (s *Drivers) recoverPods() error {
	pods, err := os.ReadDir(filepath.Join(s.Root, "pods"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what is published: %w", err)
	}
	for _, p := range pods {
		pod := uid(p.Name())
		for _, name := range names(s.podVolumes(pod)) {
			if r, err := readRecord(filepath.Join(s.podVolumes(pod), name)); err == nil { // one without is looked at by Teardown
				s.hold(s.use(r.device()), pod, core.UniqueVolumeName(r.Attached))
			}
		}
		for _, name := range names(s.podDevices(pod)) {
			if r, err := readRecord(s.blockData(name)); err == nil {
				s.hold(s.use(r.device()), pod, core.UniqueVolumeName(r.Attached))
			}
		}
	}
	return nil
}

// hold notes that a pod has a device.
func (s *Drivers) hold(u *use, pod uid, attached core.UniqueVolumeName) {
	if _, has := u.pods[pod]; !has {
		u.pods[pod] = time.Time{}
	}
	if attached != "" && u.attached == "" {
		u.attached = attached
		s.mu.Lock()
		s.inUse[attached]++
		s.mu.Unlock()
	}
}

func names(dir string) (out []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// isMountPoint asks statx, which knows bind mounts too.
func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// removeTarget removes what a driver should have removed: an empty directory or a file that nothing is mounted on.
func removeTarget(path string) error {
	if isMountPoint(path) {
		return fmt.Errorf("%s is still mounted", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeRecord removes vol_data.json and its directory.
func removeRecord(dir string) error {
	for _, path := range []string{filepath.Join(dir, dataFile), dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
