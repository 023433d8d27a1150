package seccomp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// simulate runs a program as the kernel would.
func simulate(t *testing.T, p Program, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.NativeEndian.PutUint32(data[0:], nr)
	binary.NativeEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.NativeEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; ; pc++ {
		in := p.Code[8*pc:]
		code, jt, jf, k := binary.NativeEndian.Uint16(in), int(in[2]), int(in[3]), binary.NativeEndian.Uint32(in[4:])
		jump := func(cond bool) {
			if cond {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.NativeEndian.Uint32(data[k:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == k)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(acc > k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= k)
		case unix.BPF_RET | unix.BPF_K:
			return k
		default:
			t.Fatalf("instruction %d has code %#x", pc, code)
		}
	}
}

const (
	allow   = unix.SECCOMP_RET_ALLOW
	refuse  = unix.SECCOMP_RET_ERRNO | eperm
	unknown = unix.SECCOMP_RET_ERRNO | enosys
)

func TestDefault(t *testing.T) {
	plain, err := Compile(Default(nil))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := Compile(Default([]string{"CAP_SYS_ADMIN"}))
	if err != nil {
		t.Fatal(err)
	}
	a := abis[0]
	for _, c := range []struct {
		name         string
		args         []uint64
		plain, admin uint32
	}{
		{"read", nil, allow, allow},
		{"openat2", nil, allow, allow},
		{"mount", nil, refuse, allow},
		{"unshare", nil, refuse, allow},
		{"bpf", nil, refuse, allow},
		{"keyctl", nil, refuse, refuse},
		{"kexec_load", nil, refuse, refuse},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD}, allow, allow},
		{"clone", []uint64{unix.CLONE_NEWUSER}, refuse, allow},
		{"clone3", nil, unknown, allow},
		{"socket", []uint64{unix.AF_INET}, allow, allow},
		{"socket", []uint64{unix.AF_ALG}, refuse, refuse},
		{"socket", []uint64{unix.AF_VSOCK}, refuse, refuse},
		{"socket", []uint64{unix.AF_QIPCRTR}, allow, allow},
		{"personality", []uint64{0}, allow, allow},
		{"personality", []uint64{0x40000}, refuse, refuse},
	} {
		nr, ok := a.number(c.name)
		if !ok {
			t.Errorf("no number for %s", c.name)
			continue
		}
		if got := simulate(t, plain, a.arch, nr, c.args...); got != c.plain {
			t.Errorf("%s %v: %#x, want %#x", c.name, c.args, got, c.plain)
		}
		if got := simulate(t, admin, a.arch, nr, c.args...); got != c.admin {
			t.Errorf("%s %v with CAP_SYS_ADMIN: %#x, want %#x", c.name, c.args, got, c.admin)
		}
	}
	if got := simulate(t, plain, a.arch, 5000); got != unknown {
		t.Errorf("a number of the future: %#x", got)
	}
	if got := simulate(t, plain, 0x1234, 0); got != refuse {
		t.Errorf("another architecture: %#x", got)
	}
	if runtime.GOARCH == "amd64" {
		if got := simulate(t, plain, a.arch, x32|1); got != unknown {
			t.Errorf("an x32 call: %#x", got)
		}
	}
	t.Logf("%d instructions, %d with CAP_SYS_ADMIN", len(plain.Code)/8, len(admin.Code)/8)
}

// TestEveryCall compares the program's search with the plain reading of the profile for every call without conditions.
func TestEveryCall(t *testing.T) {
	profile := Default(nil)
	p, err := Compile(profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range abis {
		for _, c := range a.calls {
			want, conditional := uint32(refuse), false
			for _, rule := range profile.Syscalls {
				for _, name := range rule.Names {
					if name == c.name {
						conditional = conditional || len(rule.Args) > 0
						if want, err = action(rule.Action, rule.ErrnoRet); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if conditional {
				continue
			}
			got := simulate(t, p, a.arch, c.number)
			if got != want && !(want == refuse && got == unknown) { // newer than all that the profile names
				t.Errorf("%#x %s: %#x, want %#x", a.arch, c.name, got, want)
			}
		}
	}
}

func TestComparisons(t *testing.T) {
	values := []uint64{0, 1, 5, 6, 1<<32 - 1, 1 << 32, 1<<32 + 5, 1<<33 + 1, 1<<64 - 1}
	errno := uint(1)
	for op, holds := range map[specs.LinuxSeccompOperator]func(a, b uint64) bool{
		specs.OpEqualTo:      func(a, b uint64) bool { return a == b },
		specs.OpNotEqual:     func(a, b uint64) bool { return a != b },
		specs.OpLessThan:     func(a, b uint64) bool { return a < b },
		specs.OpLessEqual:    func(a, b uint64) bool { return a <= b },
		specs.OpGreaterThan:  func(a, b uint64) bool { return a > b },
		specs.OpGreaterEqual: func(a, b uint64) bool { return a >= b },
		specs.OpMaskedEqual:  func(a, b uint64) bool { return a&b == 5 },
	} {
		for _, limit := range values {
			p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 2, Value: limit, ValueTwo: 5, Op: op}}}}})
			if err != nil {
				t.Fatal(err)
			}
			nr, _ := abis[0].number("read")
			for _, v := range values {
				want := uint32(refuse)
				if holds(v, limit) {
					want = allow
				}
				if got := simulate(t, p, abis[0].arch, nr, 0, 0, v); got != want {
					t.Errorf("%d %s %d: %#x, want %#x", v, op, limit, got, want)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for _, p := range []*specs.LinuxSeccomp{
		{DefaultAction: "SCMP_ACT_SING"},
		{DefaultAction: specs.ActNotify},
		{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "like"}}}}},
	} {
		if _, err := Compile(p); err == nil {
			t.Error(fmt.Sprint("accepted: ", p))
		}
	}
}
