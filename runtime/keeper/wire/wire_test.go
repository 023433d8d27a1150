package wire

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNumbers(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1 << 40, math.MaxInt64, math.MinInt64} {
		var e Encoder
		e.Int(v)
		e.Uint(uint64(v))
		want := binary.AppendUvarint(binary.AppendVarint(nil, v), uint64(v))
		if !bytes.Equal(e.Take(), want) {
			t.Errorf("%d is %x, want %x", v, e.Take(), want)
		}
		d := NewDecoder(e.Take())
		if got := d.Int(); got != v {
			t.Errorf("got %d, want %d", got, v)
		}
		if got := d.Uint(); got != uint64(v) || d.Err() != nil {
			t.Errorf("got %d, want %d", got, uint64(v))
		}
	}
}

// TestExample is the one in the package's documentation.
func TestExample(t *testing.T) {
	var b bytes.Buffer
	if err := WriteFrame(&b, KindSignal, Signal{ID: "c1", Signal: 15}.Encode()); err != nil {
		t.Fatal(err)
	}
	want := []byte{5, 0, 0, 0, 'k', 2, 'c', '1', 0x1e, 0}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got % x, want % x", b.Bytes(), want)
	}
}

func TestLaunch(t *testing.T) {
	want := Launch{
		Root:    Root{Lower: []string{"/a", "/b"}, Upper: "/u", Work: "/w", At: "/at", ReadOnly: true, Data: "x"},
		Mounts:  []Mount{{Target: "/t", Source: "/s", Attr: 7, Recursive: true, Propagation: 2}, {Target: "/i", FSType: "overlay", Lower: []string{"/l"}, SubPath: "p", Optional: true}},
		Devices: []Device{{Path: "/dev/null", Mode: 0o666, Major: 1, Minor: 3, UID: 4, GID: 5}},
		Masked:  []string{"/proc/kcore"}, ReadOnly: []string{"/proc/sys"}, Sysctls: []KeyValue{{"a.b", "c"}}, Hostname: "h", CgroupNS: true,
		Process: Process{Args: []string{"a", ""}, Env: []string{"A=b"}, Cwd: "/c", User: User{Spec: "u:g", Groups: []uint64{1, 2}, NoImage: true, HasGID: true, GID: 3, MustBeName: true},
			TTY: true, Width: 80, Height: 25, Caps: Caps{1, 2, 3, 4, 5}, NoNewPrivs: true, Seccomp: []byte{1, 2}, SecFlags: 3, Rlimits: []Rlimit{{7, 8, 9}},
			OOMScore: -998, HasOOMScore: true, AppArmor: "aa", SELinux: "se", Umask: 0o22, HasUmask: true, CwdStrict: true},
		IDs: IDMap{65536, 131072, 65536}, Mapped: []uint64{0},
	}
	got, err := DecodeLaunch(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestOlder: a message of a sender that knew fewer fields reads as if the others were zero.
func TestOlder(t *testing.T) {
	b := Create{ID: "c", Log: "/l", Stdin: true}.Encode()
	got, err := DecodeCreate(b[:5])
	if err != nil || got.ID != "c" || got.Log != "/l" || got.Stdin {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(KindCreate), Create{ID: "c", Launch: Launch{Masked: []string{"/x"}}.Encode()}.Encode())
	f.Add(byte(KindState), State{ID: "c", Phase: PhaseExited, ExitCode: 137}.Encode())
	f.Add(byte(KindSetup), Setup{Version: 1, Sysctls: []KeyValue{{"a", "b"}}}.Encode())
	f.Add(byte(0), Launch{Mounts: []Mount{{Target: "/t"}}}.Encode())
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch kind {
		case KindCreate:
			again(t, b, DecodeCreate, Create.Encode)
		case KindState:
			again(t, b, DecodeState, State.Encode)
		case KindSetup:
			again(t, b, DecodeSetup, Setup.Encode)
		default:
			again(t, b, DecodeLaunch, Launch.Encode)
		}
		r := bytes.NewReader(b)
		for {
			if _, _, err := ReadFrame(r, nil); err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && err != ErrMalformed {
					t.Errorf("unexpected error %v", err)
				}
				break
			}
		}
	})
}

// again checks that what was understood survives being said again.
func again[M any](t *testing.T, b []byte, decode func([]byte) (M, error), encode func(M) []byte) {
	m, err := decode(b)
	if err != nil {
		return
	}
	n, err := decode(encode(m))
	if err != nil {
		t.Fatalf("said again: %v", err)
	}
	if d := cmp.Diff(m, n); d != "" {
		t.Error(d)
	}
}
