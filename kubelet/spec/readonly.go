package spec

import (
	"fmt"

	core "k8s.io/api/core/v1"
)

// RecursiveReadOnly says whether all mounts below a volume mount are read-only with it (KEP-3857). can is whether the runtime does that for
// the pod's handler.
func RecursiveReadOnly(m *core.VolumeMount, can bool) (bool, error) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == core.RecursiveReadOnlyDisabled {
		return false, nil
	}
	switch mode := *m.RecursiveReadOnly; {
	case !m.ReadOnly:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not read-only", m.Name)
	case m.MountPropagation != nil && *m.MountPropagation != core.MountPropagationNone:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not compatible with propagation %q", m.Name, *m.MountPropagation)
	case mode == core.RecursiveReadOnlyIfPossible:
		return can, nil
	case mode != core.RecursiveReadOnlyEnabled:
		return false, fmt.Errorf("unknown recursive read-only mode %q", mode)
	case !can:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
	}
	return true, nil
}

// WantsRecursiveReadOnly says whether a volume mount of a container depends on that.
func WantsRecursiveReadOnly(c *core.Container) bool {
	for i := range c.VolumeMounts {
		if m := c.VolumeMounts[i].RecursiveReadOnly; m != nil && *m != core.RecursiveReadOnlyDisabled {
			return true
		}
	}
	return false
}
