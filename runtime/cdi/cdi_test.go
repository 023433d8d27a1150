package cdi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const gpus = `{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu",
"devices": [
  {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}], "env": ["GPU=0", "FROM=device"]}},
  {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu1", "type": "c", "major": 9, "minor": 1, "fileMode": 384, "uid": 5}]}}],
"containerEdits": {"env": ["FROM=file", "DRIVER=yes"], "additionalGids": [44],
  "mounts": [{"hostPath": "/opt/gpu", "containerPath": "/opt/gpu", "options": ["ro", "bind"]}]}}`

func files(t *testing.T, content map[string]string) []string {
	t.Helper()
	root := t.TempDir()
	dirs := []string{filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "none")}
	for _, d := range dirs[:2] {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

func plain() *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Env: []string{"A=1", "DRIVER=no"}}, Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
}

func TestApply(t *testing.T) {
	s := plain()
	groups, err := apply(s, []string{"vendor.com/gpu=0", "vendor.com/gpu=1", "vendor.com/gpu=0"}, files(t, map[string]string{"a/gpu.json": gpus, "a/README": "no"}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]uint32{44}, groups); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"A=1", "DRIVER=yes", "FROM=device", "GPU=0"}, s.Process.Env); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]specs.Mount{{Source: "/opt/gpu", Destination: "/opt/gpu", Type: "bind", Options: []string{"ro", "bind"}}}, s.Mounts); d != "" {
		t.Error(d)
	}
	if len(s.Linux.Devices) != 2 {
		t.Fatalf("%v", s.Linux.Devices)
	}
	if d := s.Linux.Devices[0]; d.Path != "/dev/gpu0" || d.Type != "c" || d.Major != 1 || d.Minor != 3 || d.FileMode.Perm() != 0o666 {
		t.Errorf("first device %+v", d)
	}
	if d := s.Linux.Devices[1]; d.Path != "/dev/gpu1" || d.Major != 9 || d.Minor != 1 || *d.FileMode != 0o600 || *d.UID != 5 {
		t.Errorf("second device %+v", d)
	}
	var access []string
	for _, r := range s.Linux.Resources.Devices {
		access = append(access, r.Access)
	}
	if !slices.Equal(access, []string{"rw", "rwm"}) {
		t.Errorf("access %v", access)
	}
}

// TestPrecedence: a later directory hides an earlier one; two files of one directory hide each other.
func TestPrecedence(t *testing.T) {
	later := strings.Replace(gpus, `"GPU=0"`, `"GPU=later"`, 1)
	s := plain()
	if _, err := apply(s, []string{"vendor.com/gpu=0"}, files(t, map[string]string{"a/gpu.json": gpus, "b/gpu.yaml": later})); err != nil || !slices.Contains(s.Process.Env, "GPU=later") {
		t.Errorf("%v, %v", s.Process.Env, err)
	}
	_, err := apply(plain(), []string{"vendor.com/gpu=0"}, files(t, map[string]string{"a/gpu.json": gpus, "a/two.json": gpus}))
	if err == nil || err.Error() != "CDI device injection failed: unresolvable CDI devices vendor.com/gpu=0" {
		t.Errorf("two files: %v", err)
	}
}

func TestRefused(t *testing.T) {
	one := func(edits string) string {
		return `{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":` + edits + `}]}`
	}
	for text, want := range map[string]string{
		`{`:            "unresolvable CDI devices v.com/c=d",
		one(`{"x":1}`): `unknown field "x"`,
		strings.Replace(one(`{}`), "v.com/c", "c", 1):                      "is not vendor/class",
		strings.Replace(one(`{}`), `"0.6.0"`, `""`, 1):                     "no cdiVersion",
		one(`{"env":["x"]}`):                                               `"x" is not a variable`,
		one(`{"deviceNodes":[{"path":"dev/x"}]}`):                          "not an absolute path",
		one(`{"deviceNodes":[{"path":"/dev/not-there"}]}`):                 "no such file",
		one(`{"deviceNodes":[{"path":"/dev/x","hostPath":"/etc"}]}`):       "not a device",
		one(`{"mounts":[{"hostPath":"/x","containerPath":"y"}]}`):          "absolute container path",
		one(`{"hooks":[{"hookName":"nothing","path":"/bin/true"}]}`):       `unknown hook "nothing"`,
		one(`{"netDevices":[{"hostInterfaceName":"eth9","name":"eth1"}]}`): "not supported",
	} {
		_, err := apply(plain(), []string{"v.com/c=d"}, files(t, map[string]string{"a/x.json": text}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(gpus))
	f.Fuzz(func(t *testing.T, data []byte) {
		if spec, err := parse(data); err == nil {
			for i := range spec.Devices {
				_ = spec.Devices[i].Edits.apply(plain())
			}
		}
	})
}
