package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// filterDevices attaches a device program to a v2 group (BPF_PROG_TYPE_CGROUP_DEVICE). The program decides like the v1
// list: the last rule that matches wins, and without one nothing is allowed.
func (g *Group) filterDevices(rules []DeviceRule) error {
	prog, err := loadProgram(assemble(rules))
	if err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			return nil // inside a user namespace the kernel keeps device nodes away by itself
		}
		return fmt.Errorf("load device filter: %w", err)
	}
	defer unix.Close(prog)
	dir, err := os.Open(g.Dir())
	if err != nil {
		return err
	}
	defer dir.Close()
	attr := struct{ target, prog, kind, flags uint32 }{uint32(dir.Fd()), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); e != 0 {
		return fmt.Errorf("attach device filter: %w", e)
	}
	return nil
}

// Registers of the program: the context in r1 is struct bpf_cgroup_dev_ctx {access_type, major, minor}, where access_type
// is (access << 16) | type.
const (
	regResult = 0
	regCtx    = 1
	regType   = 2
	regAccess = 3
	regMajor  = 4
	regMinor  = 5
	regWanted = 6
)

// insn is struct bpf_insn.
type insn [8]byte

func op(code, dst, src uint8, off int16, imm int32) insn {
	var i insn
	i[0], i[1] = code, src<<4|dst
	binary.NativeEndian.PutUint16(i[2:], uint16(off))
	binary.NativeEndian.PutUint32(i[4:], uint32(imm))
	return i
}

// assemble turns rules into a program that returns 1 for allowed.
func assemble(rules []DeviceRule) []insn {
	const (
		ldxw   = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
		movReg = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
		movImm = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
		andImm = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		rshImm = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		jneImm = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K
		jneReg = unix.BPF_JMP | unix.BPF_JNE | unix.BPF_X
		exit   = unix.BPF_JMP | unix.BPF_EXIT
	)
	code := []insn{
		op(ldxw, regType, regCtx, 0, 0),
		op(andImm, regType, 0, 0, 0xffff),
		op(ldxw, regAccess, regCtx, 0, 0),
		op(rshImm, regAccess, 0, 0, 16),
		op(ldxw, regMajor, regCtx, 4, 0),
		op(ldxw, regMinor, regCtx, 8, 0),
	}
	for i := len(rules) - 1; i >= 0; i-- { // the last rule wins, so it is asked first
		r := rules[i]
		var tests []insn // each is a jump past this rule, its offset filled in below
		switch r.Type {
		case "c":
			tests = append(tests, op(jneImm, regType, 0, 0, unix.BPF_DEVCG_DEV_CHAR))
		case "b":
			tests = append(tests, op(jneImm, regType, 0, 0, unix.BPF_DEVCG_DEV_BLOCK))
		}
		if access := accessBits(r.Access); access != 7 {
			tests = append(tests, op(movReg, regWanted, regAccess, 0, 0), op(andImm, regWanted, 0, 0, access),
				op(jneReg, regWanted, regAccess, 0, 0))
		}
		if r.Major >= 0 && r.Type != "a" && r.Type != "" {
			tests = append(tests, op(jneImm, regMajor, 0, 0, int32(r.Major)))
		}
		if r.Minor >= 0 && r.Type != "a" && r.Type != "" {
			tests = append(tests, op(jneImm, regMinor, 0, 0, int32(r.Minor)))
		}
		for j := range tests {
			if c := tests[j][0]; c == jneImm || c == jneReg {
				binary.NativeEndian.PutUint16(tests[j][2:], uint16(len(tests)-j-1+2))
			}
		}
		code = append(code, tests...)
		result := int32(0)
		if r.Allow {
			result = 1
		}
		code = append(code, op(movImm, regResult, 0, 0, result), op(exit, 0, 0, 0, 0))
		if len(tests) == 0 {
			return code // matches everything: earlier rules cannot be reached, and the verifier refuses dead code
		}
	}
	return append(code, op(movImm, regResult, 0, 0, 0), op(exit, 0, 0, 0, 0))
}

func accessBits(access string) int32 {
	var bits int32
	if strings.Contains(access, "m") {
		bits |= unix.BPF_DEVCG_ACC_MKNOD
	}
	if strings.Contains(access, "r") {
		bits |= unix.BPF_DEVCG_ACC_READ
	}
	if strings.Contains(access, "w") {
		bits |= unix.BPF_DEVCG_ACC_WRITE
	}
	if bits == 0 {
		return 7 // "a" rules name no access
	}
	return bits
}

// loadTries bounds how often a program is loaded anew because a signal came while the kernel checked it, as Go's scheduler sends them.
const loadTries = 20

// loadProgram gives a device program to the kernel.
func loadProgram(code []insn) (int, error) {
	license := []byte("Apache\x00")
	attr := struct {
		kind, count              uint32
		insns, license           uint64
		logLevel, logSize        uint32
		logBuf                   uint64
		kernelVersion, progFlags uint32
	}{kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		insns: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	var fd uintptr
	e := unix.EAGAIN
	for try := 0; try < loadTries && e == unix.EAGAIN; try++ {
		fd, _, e = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	}
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil
}
