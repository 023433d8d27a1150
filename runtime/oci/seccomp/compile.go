package seccomp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// abi is one way to make system calls on a machine.
type abi struct {
	arch  uint32 // AUDIT_ARCH_*
	calls []call
}

// call is a name and its number.
type call struct {
	name   string
	number uint32
}

func (a abi) number(name string) (uint32, bool) {
	i, ok := slices.BinarySearchFunc(a.calls, name, func(c call, n string) int { return strings.Compare(c.name, n) })
	if !ok {
		return 0, false
	}
	return a.calls[i].number, true
}

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// x32 marks calls of the x32 ABI, which shares the architecture number of amd64.
const x32 = 0x40000000

// Program is a compiled profile: struct sock_filter after struct sock_filter, in the machine's byte order, and the flags for
// seccomp(2).
type Program struct {
	Code  []byte
	Flags uint64
}

// Compile turns a profile into a program. Rules for a call are tried in order, and those without argument conditions end
// the list. Unknown names are passed over, as a profile is shared between kernels and architectures.
func Compile(p *specs.LinuxSeccomp) (Program, error) {
	if len(abis) == 0 {
		return Program{}, fmt.Errorf("seccomp profiles are not known for %s", runtime.GOARCH)
	}
	fallback, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return Program{}, err
	}
	var code []unix.SockFilter
	code = append(code, load(offArch))
	for _, a := range abis {
		section, err := compileABI(a, p, fallback)
		if err != nil {
			return Program{}, err
		}
		code = append(code, jump(unix.BPF_JEQ, a.arch, 1, 0), always(len(section)))
		code = append(code, section...)
	}
	code = append(code, result(fallback))
	if len(code) > 4096 {
		return Program{}, fmt.Errorf("seccomp profile needs %d instructions, the kernel takes 4096", len(code))
	}
	out := Program{Code: make([]byte, 0, 8*len(code))}
	for _, in := range code {
		out.Code = binary.NativeEndian.AppendUint16(out.Code, in.Code)
		out.Code = append(out.Code, in.Jt, in.Jf)
		out.Code = binary.NativeEndian.AppendUint32(out.Code, in.K)
	}
	for _, f := range p.Flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			out.Flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			out.Flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		}
	}
	return out, nil
}

// span is a range of call numbers with one verdict: from start up to the next span's start.
type span struct {
	start uint32
	code  []unix.SockFilter
}

func compileABI(a abi, p *specs.LinuxSeccomp, fallback uint32) ([]unix.SockFilter, error) {
	type verdict struct {
		code  []unix.SockFilter
		final bool
	}
	verdicts := map[uint32]*verdict{}
	highest := uint32(0)
	for _, rule := range p.Syscalls {
		act, err := action(rule.Action, rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		code, err := compileRule(rule.Args, act)
		if err != nil {
			return nil, fmt.Errorf("seccomp rule for %s: %w", strings.Join(rule.Names, ", "), err)
		}
		for _, name := range rule.Names {
			nr, ok := a.number(name)
			if !ok {
				continue
			}
			highest = max(highest, nr)
			v := verdicts[nr]
			if v == nil {
				v = &verdict{}
				verdicts[nr] = v
			}
			if !v.final {
				v.code = append(slices.Clip(v.code), code...)
				v.final = len(rule.Args) == 0
			}
		}
	}
	other := []unix.SockFilter{result(fallback)}
	spans := []span{{0, other}}
	for nr := range highest + 1 {
		code := other
		if v := verdicts[nr]; v != nil {
			code = v.code
			if !v.final {
				code = append(slices.Clip(code), result(fallback))
			}
		}
		if nr == 0 {
			spans[0].code = code
		} else if !slices.Equal(code, spans[len(spans)-1].code) {
			spans = append(spans, span{nr, code})
		}
	}
	beyond := other
	if fallback&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		beyond = []unix.SockFilter{result(unix.SECCOMP_RET_ERRNO | enosys)}
	}
	spans = append(spans, span{highest + 1, beyond})
	code := []unix.SockFilter{load(offNumber)}
	if runtime.GOARCH == "amd64" && a.arch == unix.AUDIT_ARCH_X86_64 {
		code = append(code, jump(unix.BPF_JGE, x32, 0, 1), result(unix.SECCOMP_RET_ERRNO|enosys))
	}
	return append(code, search(spans)...), nil
}

// search finds the span of the loaded number. Every way through ends in a return.
func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	mid := len(spans) / 2
	low, high := search(spans[:mid]), search(spans[mid:])
	// Conditional jumps reach 255 instructions, plain ones everywhere.
	code := []unix.SockFilter{jump(unix.BPF_JGE, spans[mid].start, 0, 1), always(len(low))}
	return append(append(code, low...), high...)
}

// compileRule returns code that returns act if all conditions hold and runs past its end if not.
func compileRule(args []specs.LinuxSeccompArg, act uint32) ([]unix.SockFilter, error) {
	var code []unix.SockFilter
	for _, arg := range args {
		if arg.Index > 5 {
			return nil, fmt.Errorf("argument %d: there are six, from 0", arg.Index)
		}
		test, err := compileTest(arg)
		if err != nil {
			return nil, err
		}
		code = append(code, test...)
	}
	code = append(code, result(act))
	for i := range code {
		if code[i].Jt == fail {
			code[i].Jt = uint8(len(code) - i - 1)
		}
		if code[i].Jf == fail {
			code[i].Jf = uint8(len(code) - i - 1)
		}
	}
	return code, nil
}

// fail is a jump target that compileRule fills in: past the end of the rule. Real offsets within a test are below 8.
const fail = 0xff

// compileTest compares a 64-bit argument by its two halves. Running to the end means that it holds.
func compileTest(arg specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	base := uint32(offArgs + 8*arg.Index)
	loOff, hiOff := base, base+4
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		loOff, hiOff = hiOff, loOff
	}
	lo, hi := uint32(arg.Value), uint32(arg.Value>>32)
	switch arg.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JEQ, hi, 0, fail), load(loOff), jump(unix.BPF_JEQ, lo, 0, fail)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JEQ, hi, 0, 2), load(loOff), jump(unix.BPF_JEQ, lo, fail, 0)}, nil
	case specs.OpGreaterThan:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JGT, hi, 3, 0), jump(unix.BPF_JEQ, hi, 0, fail), load(loOff), jump(unix.BPF_JGT, lo, 0, fail)}, nil
	case specs.OpGreaterEqual:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JGT, hi, 3, 0), jump(unix.BPF_JEQ, hi, 0, fail), load(loOff), jump(unix.BPF_JGE, lo, 0, fail)}, nil
	case specs.OpLessThan:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JGT, hi, fail, 0), jump(unix.BPF_JEQ, hi, 0, 2), load(loOff), jump(unix.BPF_JGE, lo, fail, 0)}, nil
	case specs.OpLessEqual:
		return []unix.SockFilter{load(hiOff), jump(unix.BPF_JGT, hi, fail, 0), jump(unix.BPF_JEQ, hi, 0, 2), load(loOff), jump(unix.BPF_JGT, lo, fail, 0)}, nil
	case specs.OpMaskedEqual: // Value is the mask, ValueTwo what has to be left
		want := arg.ValueTwo
		return []unix.SockFilter{load(hiOff), and(hi), jump(unix.BPF_JEQ, uint32(want>>32), 0, fail),
			load(loOff), and(lo), jump(unix.BPF_JEQ, uint32(want), 0, fail)}, nil
	}
	return nil, fmt.Errorf("unknown comparison %q", arg.Op)
}

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func jump(kind uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | kind | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}

func always(n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}

func result(v uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v}
}

// action is the return value of a filter.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(eperm)
	if errno != nil {
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	}
	return 0, fmt.Errorf("seccomp action %q is not supported", a)
}
