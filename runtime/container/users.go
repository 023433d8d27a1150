package container

import (
	"errors"
	"fmt"
	"math"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/keeper/wire"
)

// IDs is the user namespace that a pod asks for; Size 0: the host's (KEP-127).
func IDs(pod *runtimeapi.PodSandboxConfig) (wire.IDMap, error) {
	ns := pod.GetLinux().GetSecurityContext().GetNamespaceOptions()
	o := ns.GetUsernsOptions()
	switch {
	case o == nil:
		return wire.IDMap{}, nil
	case o.Mode == runtimeapi.NamespaceMode_NODE:
		if len(o.Uids)+len(o.Gids) > 0 {
			return wire.IDMap{}, errors.New("the host's user namespace takes no mappings")
		}
		return wire.IDMap{}, nil
	case o.Mode != runtimeapi.NamespaceMode_POD:
		return wire.IDMap{}, fmt.Errorf("user namespace mode %s is not supported", o.Mode)
	case ns.Network == runtimeapi.NamespaceMode_NODE || ns.Ipc == runtimeapi.NamespaceMode_NODE || ns.Pid == runtimeapi.NamespaceMode_NODE:
		return wire.IDMap{}, errors.New("a pod with a user namespace cannot use the host's network, IPC or PID namespace")
	}
	uid, err := mapping("user", o.Uids)
	if err != nil {
		return wire.IDMap{}, err
	}
	gid, err := mapping("group", o.Gids)
	if err != nil {
		return wire.IDMap{}, err
	}
	if uid.Length != gid.Length {
		return wire.IDMap{}, fmt.Errorf("%d users but %d groups are mapped", uid.Length, gid.Length)
	}
	return wire.IDMap{UID: uint64(uid.HostId), GID: uint64(gid.HostId), Size: uint64(uid.Length)}, nil
}

// mapping checks that there is exactly one range, and that it begins with root.
func mapping(what string, list []*runtimeapi.IDMapping) (*runtimeapi.IDMapping, error) {
	switch {
	case len(list) != 1:
		return nil, fmt.Errorf("want exactly one %s mapping, got %d", what, len(list))
	case list[0].ContainerId != 0:
		return nil, fmt.Errorf("%s 0 of the container is not mapped", what)
	case list[0].HostId == 0:
		return nil, fmt.Errorf("%s 0 of the host cannot be given to a container", what)
	case list[0].Length == 0 || uint64(list[0].HostId)+uint64(list[0].Length) > math.MaxUint32:
		return nil, fmt.Errorf("the %s mapping of %d from %d is out of range", what, list[0].Length, list[0].HostId)
	}
	return list[0], nil
}

// mapped is a user namespace in the words of a specification.
func mapped(ids wire.IDMap) (uids, gids []specs.LinuxIDMapping) {
	if ids.Size == 0 {
		return nil, nil
	}
	return []specs.LinuxIDMapping{{HostID: uint32(ids.UID), Size: uint32(ids.Size)}},
		[]specs.LinuxIDMapping{{HostID: uint32(ids.GID), Size: uint32(ids.Size)}}
}

// mountIDs checks the mappings of a volume, which are none or the pod's.
func mountIDs(m *runtimeapi.Mount, ids wire.IDMap) (bool, error) {
	if len(m.UidMappings)+len(m.GidMappings) == 0 {
		return false, nil
	}
	uid, err := mapping("user", m.UidMappings)
	if err != nil {
		return false, err
	}
	gid, err := mapping("group", m.GidMappings)
	if err != nil {
		return false, err
	}
	if own := (wire.IDMap{UID: uint64(uid.HostId), GID: uint64(gid.HostId), Size: uint64(uid.Length)}); own != ids || uid.Length != gid.Length {
		return false, errors.New("its mappings are not those of the pod's user namespace")
	}
	return true, nil
}
