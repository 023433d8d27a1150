package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Teardown takes the volumes of a pod away that CSI drivers have made for it, and from the node what no other pod has. It goes by what
// is on disk: the pod may be one of an earlier process.
func (s *Drivers) Teardown(ctx context.Context, pod uid) error {
	var errs []error
	for _, name := range names(s.podVolumes(pod)) {
		errs = append(errs, s.unpublish(ctx, pod, name))
	}
	for _, name := range names(s.podDevices(pod)) {
		errs = append(errs, s.unpublishBlock(ctx, pod, name))
	}
	return errors.Join(errs...)
}

func (s *Drivers) unpublish(ctx context.Context, pod uid, name string) error {
	dir := filepath.Join(s.podVolumes(pod), name)
	target := filepath.Join(dir, "mount")
	r, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) { // nothing was asked of a driver yet
		return errors.Join(removeTarget(target), removeRecord(dir))
	}
	if err != nil {
		return err
	}
	began := time.Now()
	err = s.back(ctx, r.device(), target, pod, r.Asked == "" && !isMountPoint(target))
	s.Operations.Add(Plugin(r.Driver), "volume_unmount", began, err)
	if err != nil {
		return fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", name, err)
	}
	return removeRecord(dir)
}

func (s *Drivers) unpublishBlock(ctx context.Context, pod uid, name string) error {
	r, err := readRecord(s.blockData(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		began := time.Now()
		err = s.back(ctx, r.device(), s.blockTarget(name, pod), pod, false)
		s.Operations.Add(Plugin(r.Driver), "unmap_volume", began, err)
		if err != nil {
			return fmt.Errorf("UnmapVolume.UnmapBlockVolume failed for volume %q : %w", name, err)
		}
	}
	if err := os.Remove(filepath.Join(s.podDevices(pod), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// back has the driver take a target away, unless it was never asked to make it, and unstages the device if that was the last.
func (s *Drivers) back(ctx context.Context, dev device, target string, pod uid, unasked bool) error {
	u := s.lock(dev)
	defer u.mu.Unlock()
	d, err := s.driver(dev.driver)
	if err != nil && !(unasked && u.staged == "") {
		return fmt.Errorf("kubernetes.io/csi: Unmounter.TearDownAt failed to get CSI client: %w", err)
	}
	if !unasked {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		_, err = d.node.NodeUnpublishVolume(call, &csi.NodeUnpublishVolumeRequest{VolumeId: dev.handle, TargetPath: target})
		if err != nil && status.Code(err) != codes.NotFound {
			return fmt.Errorf("kubernetes.io/csi: Unmounter.TearDownAt failed: %w", err)
		}
	}
	if err := removeTarget(target); err != nil {
		return err
	}
	delete(u.pods, pod)
	if err := s.release(ctx, d, dev, u); err != nil { // which is not the pod's business
		s.Log.Warn("volume not unstaged", "driver", dev.driver, "volume", dev.handle, "err", err)
		select {
		case s.unreleased <- struct{}{}:
		default:
		}
	}
	return nil
}

// release unstages a device that no pod has. u.mu is held.
func (s *Drivers) release(ctx context.Context, d *driver, dev device, u *use) error {
	if len(u.pods) > 0 {
		return nil
	}
	if u.staged != "" && d.can[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		u.ready = false // if the call fails, nobody knows how far it came
		began, name := time.Now(), "unmount_device"
		if u.block != "" {
			name = "unmap_device"
		}
		err := s.unstage(ctx, d, dev, u)
		s.Operations.Add(Plugin(dev.driver), name, began, err)
		if err != nil {
			return err
		}
	}
	data := s.stageDir(dev)
	if u.block != "" {
		data = s.blockData(u.block)
	}
	if err := removeRecord(data); err != nil {
		return err
	}
	if u.block != "" {
		for _, dir := range []string{filepath.Dir(data), filepath.Dir(s.blockTarget(u.block, "x"))} {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	u.staged, u.ready, u.block = "", false, ""
	s.letGo(u)
	if err := s.tellInUse(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.devices[dev] == u {
		delete(s.devices, dev)
	}
	return nil
}

func (s *Drivers) unstage(ctx context.Context, d *driver, dev device, u *use) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := d.node.NodeUnstageVolume(call, &csi.NodeUnstageVolumeRequest{VolumeId: dev.handle, StagingTargetPath: u.staged})
	if err != nil && status.Code(err) != codes.NotFound {
		return fmt.Errorf("UnmountDevice failed for volume %q: %w", dev.handle, err)
	}
	return removeTarget(u.staged)
}

// sweep unstages what no pod has of a driver, "" is any: an earlier process staged it, or the driver did not unstage it when it should have.
// It says whether something is left.
func (s *Drivers) sweep(driver string) (left bool) {
	s.mu.Lock()
	all := map[device]*use{}
	for dev, u := range s.devices {
		if dev.driver == driver || driver == "" {
			all[dev] = u
		}
	}
	s.mu.Unlock()
	for dev, u := range all {
		if !u.mu.TryLock() { // somebody is at it
			continue
		}
		if d, err := s.driver(dev.driver); len(u.pods) == 0 && err == nil { // a driver that comes sweeps
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			if err := s.release(ctx, d, dev, u); err != nil {
				left = true
				s.Log.Warn("volume that nobody uses not unstaged", "driver", dev.driver, "volume", dev.handle, "err", err)
			} else {
				s.Log.Info("volume that nobody uses unstaged", "driver", dev.driver, "volume", dev.handle)
			}
			cancel()
		}
		u.mu.Unlock()
	}
	return left
}

// Usage is what a volume takes, as its driver counts; nil is unknown.
type Usage struct {
	At                             time.Time
	Total, Used, Free              *int64 // bytes
	Inodes, InodesUsed, InodesFree *int64
	Abnormal                       bool
	Condition                      string
}

// Usage asks the driver how full a published volume is; nil if it does not count.
func (s *Drivers) Usage(ctx context.Context, v *Volume) (*Usage, error) {
	d, err := s.driver(v.Driver())
	if err != nil || !d.can[csi.NodeServiceCapability_RPC_GET_VOLUME_STATS] {
		return nil, err
	}
	path := s.Path(v)
	if v.block() {
		path = s.blockTarget(v.Name, v.Pod.UID)
	}
	r, err := d.node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.handle(), VolumePath: path})
	if err != nil {
		return nil, err
	}
	out := &Usage{At: time.Now(), Abnormal: r.GetVolumeCondition().GetAbnormal(), Condition: r.GetVolumeCondition().GetMessage()}
	for _, x := range r.GetUsage() {
		if x.GetUnit() == csi.VolumeUsage_INODES {
			out.Inodes, out.InodesUsed, out.InodesFree = &x.Total, &x.Used, &x.Available
		} else {
			out.Total, out.Used, out.Free = &x.Total, &x.Used, &x.Available
		}
	}
	return out, nil
}

// Grows says whether the driver enlarges volumes on nodes. Where not, they are as large already.
func (s *Drivers) Grows(v *Volume) (bool, error) {
	d, err := s.driver(v.Driver())
	return err == nil && d.can[csi.NodeServiceCapability_RPC_EXPAND_VOLUME], err
}

// Grow has the driver enlarge a published volume to size.
func (s *Drivers) Grow(ctx context.Context, v *Volume, size resource.Quantity) error {
	d, err := s.driver(v.Driver())
	if err != nil {
		return err
	}
	o := &operation{Drivers: s, d: d, v: v, dev: device{d.Name, v.handle()}}
	secrets, err := o.secrets(v.PV.Spec.CSI.NodeExpandSecretRef, "NodeExpandSecretRef")
	if err != nil {
		return err
	}
	how, err := o.capability()
	if err != nil {
		return err
	}
	u := s.lock(o.dev)
	defer u.mu.Unlock()
	path := s.Path(v)
	if v.block() {
		path = s.blockTarget(v.Name, v.Pod.UID)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = d.node.NodeExpandVolume(call, &csi.NodeExpandVolumeRequest{
		VolumeId: o.dev.handle, VolumePath: path, StagingTargetPath: u.staged, CapacityRange: &csi.CapacityRange{RequiredBytes: size.Value()},
		VolumeCapability: how, Secrets: secrets,
	})
	return err
}

// Infeasible says whether an operation that failed so can never succeed.
func Infeasible(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.NotFound:
		return true
	}
	return false
}
