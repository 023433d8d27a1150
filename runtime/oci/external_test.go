package oci_test

import (
	"os"
	"os/exec"
	"testing"

	"proa.dev/runtime/oci"
	"proa.dev/runtime/oci/ocitest"
)

func TestExternal(t *testing.T) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("%s is not installed", name)
			}
			if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil && name == "crun" {
				t.Skip("crun refuses hosts with v1 controllers beside a v2 tree")
			}
			ocitest.Run(t, func(t testing.TB, p *ocitest.Pod) oci.Runtime {
				rt, err := oci.NewExternal(path, t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				return rt
			})
		})
	}
}
