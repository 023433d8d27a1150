package spec

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"
)

func TestRecursiveReadOnly(t *testing.T) {
	mount := func(mode core.RecursiveReadOnlyMode, readOnly bool, p core.MountPropagationMode) *core.VolumeMount {
		m := &core.VolumeMount{Name: "v", ReadOnly: readOnly}
		if mode != "" {
			m.RecursiveReadOnly = &mode
		}
		if p != "" {
			m.MountPropagation = &p
		}
		return m
	}
	for _, c := range []struct {
		mount *core.VolumeMount
		can   bool
		want  string
	}{
		{mount("", true, ""), true, "false <nil>"},
		{mount("Disabled", true, ""), true, "false <nil>"},
		{mount("IfPossible", true, ""), true, "true <nil>"},
		{mount("IfPossible", true, "None"), false, "false <nil>"},
		{mount("Enabled", true, "None"), true, "true <nil>"},
		{mount("Enabled", true, ""), false, `false volume "v" requested recursive read-only mode, but it is not supported by the runtime`},
		{mount("Enabled", false, ""), true, `false volume "v" requested recursive read-only mode, but it is not read-only`},
		{mount("IfPossible", true, "HostToContainer"), true, `false volume "v" requested recursive read-only mode, but it is not compatible with propagation "HostToContainer"`},
		{mount("Perhaps", true, ""), true, `false unknown recursive read-only mode "Perhaps"`},
	} {
		all, err := RecursiveReadOnly(c.mount, c.can)
		if got := fmt.Sprint(all, " ", err); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
