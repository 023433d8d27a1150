package container

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A container gets the devices that it names where it wants them, a privileged one beside all of the host.
func TestNamedDevices(t *testing.T) {
	for _, privileged := range []bool{false, true} {
		s := &specs.Spec{Linux: &specs.Linux{}}
		in := Input{Config: &runtimeapi.ContainerConfig{
			Devices: []*runtimeapi.Device{{HostPath: "/dev/zero", ContainerPath: "/opt/0", Permissions: "r"}, {HostPath: "/dev/full", ContainerPath: "/dev/null", Permissions: "rw"}},
			Linux:   &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{Privileged: privileged}},
		}}
		if err := devices(s, in); err != nil {
			t.Fatal(err)
		}
		var at []int64
		for _, d := range s.Linux.Devices {
			if d.Path == "/opt/0" || d.Path == "/dev/null" {
				at = append(at, d.Minor)
			}
		}
		if !slices.Equal(at, []int64{5, 7}) {
			t.Errorf("privileged %v: /opt/0 and /dev/null are %v", privileged, at)
		}
		rules := len(s.Linux.Resources.Devices)
		if privileged != (rules == 1) {
			t.Errorf("privileged %v: %d rules", privileged, rules)
		}
	}
}
