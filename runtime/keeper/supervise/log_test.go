package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

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

// TestReopenWhileWriting rotates the log of a stream that is written to without a pause: every line is in one of the files, in order.
func TestReopenWhileWriting(t *testing.T) {
	const lines = 40_000
	o, path := newTestOutput(t)
	k := o.k
	k.containers = map[string]*container{"c": {out: o}}
	r, w, err := pipe(true)
	if err != nil {
		t.Fatal(err)
	}
	o.follow(os.NewFile(uintptr(r), "out"), wire.KindStdout)
	done := make(chan error, 1)
	go func() {
		f := os.NewFile(uintptr(w), "in")
		var err error
		for i := 0; i < lines && err == nil; i++ {
			_, err = fmt.Fprintf(f, "%d %s\n", i, strings.Repeat("x", i%97))
		}
		done <- errors.Join(err, f.Close())
	}()
	old := []string{}
	ended := false
	for i := 0; !ended; i++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		to := fmt.Sprintf("%s.%04d", path, i)
		if err := os.Rename(path, to); err != nil {
			t.Fatal(err)
		}
		old = append(old, to)
		if err := k.reopen("c"); err != nil {
			t.Fatal(err)
		}
	}
	o.drain(10 * time.Second)
	next := 0
	for _, name := range append(old, path) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			_, text, _ := strings.Cut(line, " stdout F ")
			if want := fmt.Sprintf("%d %s\n", next, strings.Repeat("x", next%97)); text != want {
				t.Fatalf("%s has %.80q where line %d should be", filepath.Base(name), line, next)
			}
			next++
		}
	}
	if next != lines || len(old) < 2 {
		t.Errorf("%d lines of %d in %d files", next, lines, len(old)+1)
	}
}

// TestDrainWaitsForMore has output that goes on for longer than the limit.
func TestDrainWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &output{k: &Keeper{}, log: -1}
		stop := make(chan struct{})
		o.readers.Go(func() {
			for range 5 {
				time.Sleep(700 * time.Millisecond)
				o.write([]byte("x"), wire.KindStdout)
			}
			<-stop
		})
		began := time.Now()
		o.drain(time.Second)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("waited for %v, want 5s: the last was written after 3.5s, and none between 4s and 5s", took)
		}
		close(stop)
	})
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	piece := func(after time.Duration, n int) bool {
		now = now.Add(after)
		return p.piece(n, now)
	}
	for i := range 100 {
		if piece(2*time.Millisecond, 100) || piece(10*time.Microsecond, 100) || piece(10*time.Microsecond, batch) {
			t.Fatalf("round %d: what comes slowly, or in large pieces, had to wait", i)
		}
	}
	for i := range flood {
		if got, want := piece(10*time.Microsecond, 100), i == flood-1; got != want {
			t.Fatalf("small piece %d: waits %v, want %v", i, got, want)
		}
	}
	if !piece(time.Millisecond, 40<<10) || piece(time.Millisecond, batch) || !piece(0, 3<<10) {
		t.Error("a flood is not left to gather, or something waits although there is more")
	}
	if piece(time.Millisecond, 100) || piece(time.Microsecond, 100) {
		t.Error("a flood that is over is left to gather")
	}
}

// BenchmarkFlood writes lines into a pipe, each by itself.
func BenchmarkFlood(b *testing.B) {
	o, err := newOutput(&Keeper{}, filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer o.close()
	r, w, err := pipe(true)
	if err != nil {
		b.Fatal(err)
	}
	o.follow(os.NewFile(uintptr(r), "out"), wire.KindStdout)
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := unix.Write(w, line); err != nil {
			b.Fatal(err)
		}
	}
	unix.Close(w)
	o.drain(time.Minute)
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
