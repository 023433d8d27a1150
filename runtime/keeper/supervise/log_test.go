package supervise

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proa.dev/runtime/keeper/wire"
)

func newTestOutput(t *testing.T) (*output, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	o, err := newOutput(&Keeper{}, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	return o, path
}

// TestLogLines feeds text in pieces of any size and puts the log together again.
func TestLogLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		o, path := newTestOutput(t)
		var want [2]bytes.Buffer
		for range 30 {
			i := rng.IntN(2)
			piece := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(1<<rng.IntN(16)))
			for range rng.IntN(4) {
				if len(piece) > 0 {
					piece[rng.IntN(len(piece))] = '\n'
				}
			}
			want[i].Write(piece)
			o.write(piece, wire.KindStdout+byte(i))
		}
		o.end(wire.KindStdout)
		o.end(wire.KindStderr)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got [2]bytes.Buffer
		for line := range strings.Lines(string(data)) {
			f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
			if _, err := time.Parse(time.RFC3339Nano, f[0]); err != nil || len(f) != 4 || len(f[3]) > maxLine {
				t.Fatalf("entry %.80q: %v", line, err)
			}
			i := map[string]int{"stdout": 0, "stderr": 1}[f[1]]
			got[i].WriteString(f[3])
			if f[2] == "F" {
				got[i].WriteByte('\n')
			}
		}
		for i := range want {
			if got, want := got[i].String(), want[i].String(); got != want { // also where the last line is unfinished
				t.Fatalf("stream %d: %d bytes in the log, want %d", i, len(got), len(want))
			}
		}
	}
}

func BenchmarkLog(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	o, err := newOutput(&Keeper{}, path)
	if err != nil {
		b.Fatal(err)
	}
	defer o.close()
	piece := bytes.Repeat([]byte("a line of a log as programs write them, with some words in it\n"), 60)
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	for b.Loop() {
		o.write(piece, wire.KindStdout)
	}
}
