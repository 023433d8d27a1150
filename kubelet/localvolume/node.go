package localvolume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	kinds "proa.dev/kinds/storage"
)

// NodeGetInfo says what the node is to the driver.
func (d *Driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.Node, AccessibleTopology: d.topology()}, nil
}

// NodeGetCapabilities lists what of the node's service there is.
func (d *Driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

// NodePublishVolume binds a volume to a target, and makes the volume if it is the first time.
func (d *Driver) NodePublishVolume(_ context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	switch {
	case q.GetVolumeId() == "" || q.GetTargetPath() == "":
		return nil, status.Error(codes.InvalidArgument, "a volume and a target are needed")
	case q.GetVolumeCapability() == nil:
		return nil, status.Error(codes.InvalidArgument, "a capability is needed")
	}
	if why := unsupported(q.GetVolumeCapability()); why != "" {
		return nil, status.Error(codes.InvalidArgument, why)
	}
	if _, err := d.store.find(q.GetVolumeId()); err != nil {
		bytes, bad := strconv.ParseInt(q.GetVolumeContext()[kinds.LocalSize], 10, 64)
		if !errors.Is(err, errNotFound) || bad != nil {
			return nil, failure(err)
		}
		if _, err := d.store.make(q.GetVolumeId(), bytes, q.GetVolumeContext()[kinds.LocalEnforce] == "true"); err != nil {
			return nil, failure(err)
		}
	}
	if q.GetVolumeCapability().GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		have, err := d.store.targets(q.GetVolumeId())
		if err != nil {
			return nil, failure(err)
		}
		if slices.ContainsFunc(have, func(t string) bool { return t != q.GetTargetPath() }) {
			return nil, status.Errorf(codes.FailedPrecondition, "volume %s is for one pod only, and in use", q.GetVolumeId())
		}
	}
	return &csi.NodePublishVolumeResponse{}, failure(bind(d.store.path(q.GetVolumeId()), q.GetTargetPath(), q.GetReadonly()))
}

// bind mounts source at target, unless that was done.
func bind(source, target string, readOnly bool) error {
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	if isMountPoint(target) {
		return nil
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

func isMountPoint(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// NodeUnpublishVolume takes a target away.
func (d *Driver) NodeUnpublishVolume(_ context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if q.GetVolumeId() == "" || q.GetTargetPath() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and a target are needed")
	}
	for range 16 { // mounts may lie one upon another
		if !isMountPoint(q.GetTargetPath()) {
			break
		}
		if err := unix.Unmount(q.GetTargetPath(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return nil, failure(err)
		}
	}
	if err := os.Remove(q.GetTargetPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failure(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeExpandVolume lets a volume become larger.
func (d *Driver) NodeExpandVolume(_ context.Context, q *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if q.GetVolumeId() == "" || q.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and its path are needed")
	}
	if _, err := d.store.find(q.GetVolumeId()); err != nil {
		return nil, failure(err)
	}
	if q.GetCapacityRange() == nil {
		return &csi.NodeExpandVolumeResponse{}, nil
	}
	r, err := d.expand(q.GetVolumeId(), q.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: r.Bytes}, nil
}

// NodeGetVolumeStats says how full a volume is: by its quota, where it has one.
func (d *Driver) NodeGetVolumeStats(_ context.Context, q *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if q.GetVolumeId() == "" || q.GetVolumePath() == "" {
		return nil, status.Error(codes.InvalidArgument, "a volume and its path are needed")
	}
	if _, err := d.store.find(q.GetVolumeId()); err != nil {
		return nil, failure(err)
	}
	if !isMountPoint(q.GetVolumePath()) {
		return nil, status.Errorf(codes.NotFound, "volume %s is not at %s", q.GetVolumeId(), q.GetVolumePath())
	}
	var st unix.Statfs_t // of a directory with a project quota: what the quota leaves
	if err := unix.Statfs(q.GetVolumePath(), &st); err != nil {
		return nil, failure(err)
	}
	size := func(blocks uint64) int64 { return int64(blocks) * st.Bsize }
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: size(st.Blocks), Available: size(st.Bavail), Used: size(st.Blocks - st.Bfree)},
		{Unit: csi.VolumeUsage_INODES, Total: int64(st.Files), Available: int64(st.Ffree), Used: int64(st.Files - st.Ffree)},
	}}, nil
}
