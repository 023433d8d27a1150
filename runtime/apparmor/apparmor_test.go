package apparmor

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"proa.dev/kit/roottest"
)

func TestNoHost(t *testing.T) {
	var h *Host
	if h.Enabled() {
		t.Error("no host has AppArmor")
	}
}

// TestCompiled compiles the text again: what is embedded is what stands there.
func TestCompiled(t *testing.T) {
	const abi = "/etc/apparmor.d/abi/3.0"
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("apparmor_parser is not installed")
	}
	if _, err := os.Stat(abi); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(parser, "--skip-cache", "--skip-kernel-load", "--stdout", "--policy-features", abi, "--kernel-features", abi, "policy/proa-default.profile").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, compiled) {
		t.Errorf("policy/proa-default.bin (%d bytes) is not what proa-default.profile compiles to (%d bytes): run go generate", len(compiled), len(out))
	}
}

// TestDefaultProfile runs shells with the profile and without it.
func TestDefaultProfile(t *testing.T) {
	roottest.Need(t, "loads a profile")
	h := Open()
	if !h.Enabled() {
		t.Skip("this kernel has no AppArmor")
	}
	for range 2 {
		if err := h.LoadDefault(); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{Default: true, "proa-no-such": false, "proa-default (enforce)": false} {
		if has, err := h.Has(name); err != nil || has != want {
			t.Errorf("the kernel has %s: %v, %v", name, has, err)
		}
	}
	dir := t.TempDir()
	for line, allowed := range map[string]bool{
		"echo x > " + filepath.Join(dir, "f"):                   true,
		"read x < /proc/sys/kernel/hostname":                    true,
		"echo 1000 > /proc/self/oom_score_adj":                  true,
		"cat /proc/sys/kernel/shmmax > /proc/sys/kernel/shmmax": true,
		"cat /proc/sys/kernel/msgmax > /proc/sys/kernel/msgmax": true,
		"cat /proc/sys/kernel/panic > /proc/sys/kernel/panic":   false,
		"cat /proc/sys/kernel/sysrq > /proc/sys/kernel/sysrq":   false,
		"cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness": false,
		": > /proc/sysrq-trigger":                               false,
		": < /proc/kcore":                                       false,
		": > /proc/irq/default_smp_affinity":                    false,
		"cat /sys/kernel/mm/ksm/run > /sys/kernel/mm/ksm/run":   false,
		": > /sys/kernel/security/apparmor/.remove":             false,
		"cat /sys/kernel/profiling":                             true,
		": > /sys/fs/cgroup/cgroup.procs":                       true,
		"mount -t tmpfs none " + dir:                            false,
		"mount --bind " + dir + " " + dir:                       false,
	} {
		for _, with := range []bool{false, true} {
			if with || allowed {
				if err := shell(line, with); (err == nil) != allowed {
					t.Errorf("%s (with the profile: %v): %v", line, with, err)
				}
			}
		}
	}
}

// shell runs a line in a mount namespace of its own.
func shell(line string, confined bool) error {
	// Asked for in the shell itself: it holds for the next program that this thread executes.
	begin := ""
	if confined {
		begin = "printf 'exec " + Default + "' > /proc/self/attr/apparmor/exec; "
	}
	cmd := exec.Command("/bin/sh", "-c", begin+`exec /bin/sh -c "$1"`, "sh", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	return cmd.Run()
}
