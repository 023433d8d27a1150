package lun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Deps are what Disks needs.
type Deps struct {
	Root    string // of the kubelet, "/var/lib/kubelet"
	Secrets Secrets
	Log     *slog.Logger
}

// Secrets finds what CHAP needs.
type Secrets interface {
	Secret(namespace, name string) (*core.Secret, error)
}

// Disks are those of this node. Its methods are safe for concurrent use, for different pods.
type Disks struct {
	Deps
	host
	targets locks // by iSCSI name: one login or logout at a time

	mu    sync.Mutex // guards disks
	disks map[string]*use
}

// use is what is made of a disk on this node.
type use struct {
	mu sync.Mutex // held while it is made and taken away; guards record
	record
}

// Volume is one volume of a pod.
type Volume struct {
	Pod      *core.Pod
	Source   *core.VolumeSource     // as the pod has it
	PV       *core.PersistentVolume // or this
	Name     string                 // the persistent volume's, or as the pod calls it
	ReadOnly bool                   // the pod, or its claim, does not want to write
}

// Made is what Publish has made.
type Made struct {
	Path string // directory, or the link to a block device
	Own  bool   // it was not there before, and its files are to be given to the pod's fsGroup
}

// Is says whether volumes of such a source are made here. Either may be nil.
func Is(v *core.VolumeSource, p *core.PersistentVolumeSource) bool {
	return v != nil && (v.ISCSI != nil || v.FC != nil) || p != nil && (p.ISCSI != nil || p.FC != nil)
}

// New reads from disk what earlier processes have made, and starts nothing.
func New(d Deps) (*Disks, error) {
	s := &Disks{Deps: d, host: theHost(), disks: map[string]*use{}}
	files, err := filepath.Glob(filepath.Join(s.records(), "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := readRecord(f)
		if err != nil { // one that cannot be read is no reason to run no pods
			s.Log.Warn("record of a disk not read", "err", err)
			continue
		}
		s.disks[r.key()] = &use{record: *r}
	}
	return s, nil
}

func (v *Volume) block() bool {
	return v.PV != nil && v.PV.Spec.VolumeMode != nil && *v.PV.Spec.VolumeMode == core.PersistentVolumeBlock
}

func (v *Volume) kind() string {
	if v.Source != nil && v.Source.FC != nil || v.PV != nil && v.PV.Spec.FC != nil {
		return fc
	}
	return iscsi
}

// Path is where the volume lies once it is published.
func (s *Disks) Path(v *Volume) string { return s.podPath(v.Pod.UID, v.kind(), v.Name, v.block()) }

func (s *Disks) podPath(pod types.UID, kind, name string, block bool) string {
	folder := "volumes"
	if block {
		folder = "volumeDevices"
	}
	return filepath.Join(s.Root, "pods", string(pod), folder, "kubernetes.io~"+kind, name)
}

// failure is an error of a step that Kubernetes names in its events.
type failure struct {
	step string
	error
}

func (f *failure) Unwrap() error { return f.error }

// Step names what failed, as in "MountVolume.MountDevice".
func (f *failure) Step() string { return f.step }

// Publish makes the volume usable for its pod, or makes sure that it is. Safe to repeat.
func (s *Disks) Publish(ctx context.Context, v *Volume) (Made, error) {
	d, err := diskOf(v)
	if err != nil {
		return Made{}, err
	}
	u := s.lock(d)
	defer u.mu.Unlock()
	made := Made{Path: s.Path(v)}
	if u.has(v) && s.shown(v) {
		return made, nil
	}
	if err := s.make(ctx, u, v); err != nil {
		return Made{}, err
	}
	made.Own = !v.ReadOnly && !v.block()
	return made, nil
}

// shown says whether the pod has the volume already.
func (s *Disks) shown(v *Volume) bool {
	if v.block() {
		i, err := os.Stat(s.Path(v)) // a device that is there in this life of the machine
		return err == nil && i.Mode()&os.ModeDevice != 0
	}
	return isMountPoint(s.Path(v))
}

// make brings the disk and shows it to the pod. Before it does anything it leaves a trace on disk. u.mu is held.
func (s *Disks) make(ctx context.Context, u *use, v *Volume) error {
	path, verb := s.Path(v), "MountVolume"
	if v.block() {
		verb = "MapVolume"
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil { // first: it is by this that a pod without a worker is found
		return err
	}
	u.add(v)
	if err := u.write(s.records()); err != nil {
		return err
	}
	chap, err := s.chap(v)
	var device string
	if err == nil {
		device, err = s.attach(ctx, u, chap)
	}
	if err != nil {
		return &failure{verb + ".WaitForAttach", err}
	}
	if v.block() {
		if err := link(device, path); err != nil {
			return &failure{"MapVolume.MapPodDevice", err}
		}
		return nil
	}
	global := u.place(s.Root)
	if !isMountPoint(global) {
		if err := s.mount(ctx, device, global, how(v)); err != nil {
			return &failure{"MountVolume.MountDevice", err}
		}
	}
	return bind(global, path, v.ReadOnly)
}

// attach brings the disk to the node and says which device it is. u.mu is held.
func (s *Disks) attach(ctx context.Context, u *use, chap *credentials) (string, error) {
	var paths []string // "sda", "sdb"
	var err error
	if u.Kind == iscsi {
		paths, err = s.logIn(ctx, u, chap)
	} else {
		paths, err = s.findFC(ctx, &u.disk)
	}
	if err != nil {
		return "", err
	}
	s.settle(ctx, paths)
	name := s.multipath(ctx, paths, len(u.Portals) > 1)
	if name == "" {
		name = paths[0]
	}
	return filepath.Join(s.dev, name), nil
}

// link shows a device to a pod.
func link(device, path string) error {
	if have, err := os.Readlink(path); err == nil && have == device {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of another life of the machine
		return err
	}
	return os.Symlink(device, path)
}

// Teardown takes the volumes of a pod away, and from the node the disks that no other pod has. It goes by the records: the pod may be one
// of an earlier process.
func (s *Disks) Teardown(ctx context.Context, pod types.UID) error {
	s.mu.Lock()
	all := make([]*use, 0, len(s.disks))
	for _, u := range s.disks {
		all = append(all, u)
	}
	s.mu.Unlock()
	var errs []error
	for _, u := range all {
		u.mu.Lock()
		errs = append(errs, s.back(ctx, u, pod))
		u.mu.Unlock()
	}
	return errors.Join(errs...)
}

// back takes a disk from a pod. u.mu is held.
func (s *Disks) back(ctx context.Context, u *use, pod types.UID) error {
	left, gone := u.without(pod)
	if len(gone) == 0 {
		return nil
	}
	for _, name := range gone {
		path := s.podPath(pod, u.Kind, name, u.Block)
		if err := s.hide(path); err != nil {
			return fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", name, err)
		}
	}
	if len(left) > 0 {
		u.Users = left
		return u.write(s.records())
	}
	if err := s.release(ctx, u); err != nil { // the user stays in the record, so that it is tried again
		return fmt.Errorf("UnmountDevice failed for volume %q : %w", gone[0], err)
	}
	u.Users = nil
	s.mu.Lock()
	delete(s.disks, u.key())
	s.mu.Unlock()
	return u.remove(s.records())
}

// release takes the disk from the node. u.mu is held.
func (s *Disks) release(ctx context.Context, u *use) error {
	if !u.Block {
		if err := unmountDisk(u.place(s.Root)); err != nil {
			return err
		}
	}
	if u.Kind == fc {
		paths, err := s.fcPaths(&u.disk)
		if err != nil {
			return err
		}
		return s.drop(ctx, u, paths)
	}
	return s.logOut(ctx, u)
}

// others are the disks of this node but one, as they are now.
func (s *Disks) others(not *use) (out []disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.disks {
		if u != not {
			out = append(out, u.disk) // never changes
		}
	}
	return out
}

// lock is the use of a disk with its mutex held.
func (s *Disks) lock(d *disk) *use {
	key := d.key()
	for {
		s.mu.Lock()
		u := s.disks[key]
		if u == nil {
			u = &use{record: record{disk: *d}}
			s.disks[key] = u
		}
		s.mu.Unlock()
		u.mu.Lock()
		s.mu.Lock()
		same := s.disks[key] == u
		s.mu.Unlock()
		if same {
			return u
		}
		u.mu.Unlock() // it was released while we waited
	}
}

// locks are mutexes by name.
type locks struct {
	mu   sync.Mutex // guards held
	held map[string]*named
}

type named struct {
	sync.Mutex
	waiting int
}

// lock locks a name and returns what unlocks it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*named{}
	}
	n := l.held[name]
	if n == nil {
		n = &named{}
		l.held[name] = n
	}
	n.waiting++
	l.mu.Unlock()
	n.Lock()
	return func() {
		n.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.waiting--; n.waiting == 0 {
			delete(l.held, name)
		}
	}
}
