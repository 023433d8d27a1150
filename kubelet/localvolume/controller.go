package localvolume

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
)

// defaultBytes is the size of a volume of which nobody says how large it has to be.
const defaultBytes = 1 << 30

// ControllerGetCapabilities lists what of the controller's service there is.
func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME, csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY, csi.ControllerServiceCapability_RPC_CLONE_VOLUME, csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

// CreateVolume makes a directory on this node.
func (d *Driver) CreateVolume(ctx context.Context, q *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	switch {
	case q.GetName() == "":
		return nil, status.Error(codes.InvalidArgument, "a volume needs a name")
	case len(q.GetVolumeCapabilities()) == 0:
		return nil, status.Error(codes.InvalidArgument, "a volume needs capabilities")
	case q.GetVolumeContentSource() != nil && q.GetVolumeContentSource().GetVolume() == nil:
		return nil, status.Error(codes.InvalidArgument, "a volume begins empty, or as a copy of another")
	}
	for _, c := range q.GetVolumeCapabilities() {
		if why := unsupported(c); why != "" {
			return nil, status.Error(codes.InvalidArgument, why)
		}
	}
	if !d.reachable(q.GetAccessibilityRequirements()) {
		return nil, status.Errorf(codes.ResourceExhausted, "volumes are made on node %s only", d.Node)
	}
	id := q.GetName()
	if !valid(id) {
		id = fmt.Sprintf("vol-%x", sha256.Sum256([]byte(id)))
	}
	bytes, most := q.GetCapacityRange().GetRequiredBytes(), q.GetCapacityRange().GetLimitBytes()
	if bytes == 0 {
		if bytes = defaultBytes; most > 0 {
			bytes = min(bytes, most)
		}
	}
	if most > 0 && bytes > most {
		return nil, status.Error(codes.OutOfRange, "the required size is beyond the limit")
	}
	r, err := d.content(ctx, id, bytes, q)
	if err != nil {
		return nil, failure(err)
	}
	if r.Bytes < q.GetCapacityRange().GetRequiredBytes() || most > 0 && r.Bytes > most {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s has %d bytes", id, r.Bytes)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: id, CapacityBytes: r.Bytes, AccessibleTopology: []*csi.Topology{d.topology()}, ContentSource: q.GetVolumeContentSource(),
	}}, nil
}

// content makes the directory, with what is to be in it at first.
func (d *Driver) content(ctx context.Context, id string, bytes int64, q *csi.CreateVolumeRequest) (*record, error) {
	enforced := q.GetParameters()["capacity"] == "enforced"
	if from := q.GetVolumeContentSource().GetVolume(); from != nil {
		return d.store.copy(ctx, id, from.GetVolumeId(), bytes, enforced)
	}
	return d.store.make(id, bytes, enforced)
}

func (d *Driver) topology() *csi.Topology {
	return &csi.Topology{Segments: map[string]string{core.LabelHostname: d.Node}}
}

// reachable says whether this node is among those that a volume has to be reached from.
func (d *Driver) reachable(r *csi.TopologyRequirement) bool {
	return len(r.GetRequisite()) == 0 || slices.ContainsFunc(r.GetRequisite(), func(t *csi.Topology) bool {
		return t.GetSegments()[core.LabelHostname] == d.Node
	})
}

// unsupported says why a volume cannot be used so, or "".
func unsupported(c *csi.VolumeCapability) string {
	switch {
	case c.GetBlock() != nil:
		return "block volumes are not supported: a local volume is a directory"
	case c.GetMount() == nil:
		return "the capability says neither mount nor block"
	}
	switch c.GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		return ""
	}
	return "a local volume can be used on its own node only"
}

// DeleteVolume removes a volume and all that is in it.
func (d *Driver) DeleteVolume(_ context.Context, q *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if q.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "which volume?")
	}
	return &csi.DeleteVolumeResponse{}, failure(d.store.remove(q.GetVolumeId()))
}

// ValidateVolumeCapabilities says whether a volume can be used as asked.
func (d *Driver) ValidateVolumeCapabilities(_ context.Context, q *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if q.GetVolumeId() == "" || len(q.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a volume and capabilities are needed")
	}
	if _, err := d.store.find(q.GetVolumeId()); err != nil {
		return nil, failure(err)
	}
	for _, c := range q.GetVolumeCapabilities() {
		if why := unsupported(c); why != "" {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: why}, nil
		}
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: q.GetVolumeContext(), VolumeCapabilities: q.GetVolumeCapabilities(), Parameters: q.GetParameters(),
	}}, nil
}

// GetCapacity says how much is free on the file system of the volumes.
func (d *Driver) GetCapacity(_ context.Context, q *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if t := q.GetAccessibleTopology().GetSegments()[core.LabelHostname]; t != "" && t != d.Node {
		return &csi.GetCapacityResponse{}, nil
	}
	_, free, err := d.store.space()
	return &csi.GetCapacityResponse{AvailableCapacity: free}, failure(err)
}

// ControllerExpandVolume lets a volume become larger.
func (d *Driver) ControllerExpandVolume(_ context.Context, q *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	r, err := d.expand(q.GetVolumeId(), q.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: r.Bytes}, nil
}

func (d *Driver) expand(id string, size *csi.CapacityRange) (*record, error) {
	if id == "" || size == nil {
		return nil, status.Error(codes.InvalidArgument, "a volume and a size are needed")
	}
	r, err := d.store.grow(id, size.GetRequiredBytes())
	return r, failure(err)
}

// failure gives an error the code that CSI has for it.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, errTooSmall):
		return status.Error(codes.OutOfRange, err.Error())
	case errors.Is(err, errBusy):
		return status.Error(codes.Aborted, err.Error())
	case errors.Is(err, errNoQuota), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}
