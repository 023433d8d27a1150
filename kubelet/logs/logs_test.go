package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const sample = `2026-11-22T10:00:00.000000001Z stdout F one
2026-11-22T10:00:01.000000001Z stderr F two
2026-11-22T10:00:02.000000001Z stdout P thr
2026-11-22T10:00:02.100000001Z stdout P e
2026-11-22T10:00:02.200000001Z stdout F e
2026-11-22T10:00:03.000000001Z stdout F four
2026-11-22T10:00:04.000000001Z stdout F
`

func write(t testing.TB, text string) string {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := write(t, sample)
	since, err := time.Parse(time.RFC3339, "2026-11-22T10:00:02Z")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"all":        {Options{All: true}, "one\ntwo\nthree\nfour\n\n"},
		"tail 0":     {Options{Tail: 0}, ""},
		"tail 1":     {Options{Tail: 1}, "\n"},
		"tail 3":     {Options{Tail: 3}, "three\nfour\n\n"},
		"tail 4":     {Options{Tail: 4}, "two\nthree\nfour\n\n"},
		"tail 100":   {Options{Tail: 100}, "one\ntwo\nthree\nfour\n\n"},
		"since":      {Options{All: true, Since: since}, "three\nfour\n\n"},
		"bytes":      {Options{All: true, Bytes: 9}, "one\ntwo\nt"},
		"bytes even": {Options{All: true, Bytes: 4}, "one\n"},
		"times":      {Options{Tail: 3, Timestamps: true}, "2026-11-22T10:00:02.000000001Z three\n2026-11-22T10:00:03.000000001Z four\n2026-11-22T10:00:04.000000001Z \n"},
	} {
		var out bytes.Buffer
		c.o.Stdout, c.o.Stderr = &out, &out
		if err := Read(context.Background(), path, c.o); err != nil || out.String() != c.want {
			t.Errorf("%s: %q (%v), want %q", name, out.String(), err, c.want)
		}
	}
	var out bytes.Buffer
	if err := Read(context.Background(), path, Options{All: true, Stderr: &out}); err != nil || out.String() != "two\n" {
		t.Errorf("stderr alone: %q (%v)", out.String(), err)
	}
	if _, err := Tail(path, 80, 2); err != nil {
		t.Error(err)
	}
}

func TestTailOfLargeLog(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "2026-11-22T10:00:00.000000001Z stdout F line %d\n", i)
	}
	path := write(t, b.String())
	var out bytes.Buffer
	if err := Read(context.Background(), path, Options{Tail: 3000, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 3000 || !strings.HasPrefix(out.String(), "line 17000\n") {
		t.Errorf("%d lines from %.20q on", n, out.String())
	}
}

// pipe hands what is written to a channel.
type pipe chan string

func (p pipe) Write(b []byte) (int, error) { p <- string(b); return len(b), nil }

func TestFollowThroughRotation(t *testing.T) {
	path := write(t, "2026-11-22T10:00:00.000000001Z stdout F before\n")
	ended := make(chan struct{})
	out := make(pipe, 16)
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, Options{All: true, Follow: true, Stdout: out, Wake: ended, Ended: func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-out:
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("waited in vain for %q", want)
		}
	}
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := io.WriteString(f, text); err != nil {
			t.Fatal(err)
		}
	}
	expect("before\n")
	add("2026-11-22T10:00:00.000000001Z stdout F half")
	add(" a line\n")
	expect("half a line\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("2026-11-22T10:00:01.000000001Z stdout F after\n")
	expect("after\n")
	add("2026-11-22T10:00:02.000000001Z stdout F last words\n")
	close(ended)
	expect("last words\n")
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("following does not end")
	}
}

// TestFollowMissesNothing follows a log that is written without a pause and rotated again and again, as its reader lags behind.
func TestFollowMissesNothing(t *testing.T) {
	const files, each = 6, 3000
	path := write(t, "")
	ended := make(chan struct{})
	line := func(i int) string { return fmt.Sprintf("line %d of this log\n", i) }
	var got int
	var mu sync.Mutex // guards wrong; the reader waits for the writer once at its first line
	wrong := ""
	begun, written := make(chan struct{}), make(chan struct{})
	check := checker(func(text string) {
		if got == 0 {
			close(begun)
			<-written // all is rotated before the second line is read
		}
		mu.Lock()
		defer mu.Unlock()
		if want := line(got); text != want && wrong == "" {
			wrong = fmt.Sprintf("got %q, want %q", text, want)
		}
		got++
	})
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, Options{All: true, Follow: true, Stdout: check, Wake: ended, Ended: func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}})
	}()
	w := &rewriter{t: t, path: path}
	r := NewRotator(w, Bounds{MaxSize: 1, MaxFiles: files}, slog.New(slog.DiscardHandler))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range files * each {
		w.write("2026-11-22T10:00:00.000000001Z stdout F " + line(i))
		if i == 0 {
			<-begun
		}
		if i%each == each-1 && i < files*each-1 {
			now = now.Add(time.Minute)
			r.Round(context.Background(), now)
		}
	}
	if old, err := rotated(path); err != nil || len(old) != files-1 || !strings.HasSuffix(old[files-3], packed) {
		t.Errorf("rotated: %v, %v", old, err)
	}
	close(written)
	close(ended)
	select {
	case err := <-done:
		mu.Lock()
		defer mu.Unlock()
		if err != nil || wrong != "" || got != files*each {
			t.Errorf("%v; %s; %d lines of %d", err, wrong, got, files*each)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("following does not end")
	}
}

// checker is told every line that is written to it.
type checker func(line string)

func (c checker) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		c(line)
	}
	return len(b), nil
}

// rewriter is a runtime that writes a log.
type rewriter struct {
	t    *testing.T
	path string
	file *os.File
}

func (w *rewriter) write(text string) {
	w.t.Helper()
	if w.file == nil {
		if err := w.Reopen(context.Background(), ""); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w.file, text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *rewriter) Running(context.Context) map[string]string { return map[string]string{"c": w.path} }

func (w *rewriter) Reopen(context.Context, string) (err error) {
	if w.file != nil {
		w.file.Close()
	}
	w.file, err = os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	w.t.Cleanup(func() { w.file.Close() })
	return err
}

type oneLog struct {
	path string
	fail error
}

func (o *oneLog) Running(context.Context) map[string]string { return map[string]string{"c": o.path} }

func (o *oneLog) Reopen(context.Context, string) error {
	if o.fail != nil {
		return o.fail
	}
	return os.WriteFile(o.path, nil, 0o640)
}

func TestRotate(t *testing.T) {
	src := &oneLog{path: write(t, "")}
	r := NewRotator(src, Bounds{MaxSize: 100, MaxFiles: 3}, slog.New(slog.DiscardHandler))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range 5 {
		if err := os.WriteFile(src.path, bytes.Repeat([]byte{byte('a' + i)}, 200), 0o640); err != nil {
			t.Fatal(err)
		}
		r.Round(context.Background(), now.Add(time.Duration(i)*time.Minute))
	}
	old, err := rotated(src.path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{src.path + ".20261122-100300.gz", src.path + ".20261122-100400"}
	if fmt.Sprint(old) != fmt.Sprint(want) {
		t.Fatalf("left %v, want %v", old, want)
	}
	f, err := os.Open(old[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != strings.Repeat("d", 200) {
		t.Errorf("%q, %v", b, err)
	}
	src.fail = os.ErrClosed
	if err := os.WriteFile(src.path, bytes.Repeat([]byte("z"), 200), 0o640); err != nil {
		t.Fatal(err)
	}
	r.Round(context.Background(), now.Add(time.Hour))
	if b, err := os.ReadFile(src.path); err != nil || len(b) != 200 {
		t.Errorf("a log that could not be opened anew is gone: %d bytes, %v", len(b), err)
	}
}

// manyLogs are opened anew by as many at a time as there are in open.
type manyLogs struct {
	paths map[string]string
	open  chan string
	more  chan struct{}
}

func (m *manyLogs) Running(context.Context) map[string]string { return m.paths }

func (m *manyLogs) Reopen(_ context.Context, id string) error {
	m.open <- id
	<-m.more
	return os.WriteFile(m.paths[id], nil, 0o640)
}

// TestRotateSeveral rotates two logs at a time, and opens one anew that somebody took away.
func TestRotateSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &manyLogs{map[string]string{}, make(chan string, 9), make(chan struct{})}
		for _, id := range []string{"a", "b", "c", "small", "gone"} {
			src.paths[id] = filepath.Join(t.TempDir(), "0.log")
			text := strings.Repeat("x", 200)
			if id == "small" {
				text = "x"
			}
			if id != "gone" {
				if err := os.WriteFile(src.paths[id], []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- NewRotator(src, Bounds{MaxSize: 100, Interval: 4 * time.Second, Workers: 2}, slog.New(slog.DiscardHandler)).Run(ctx)
		}()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := len(src.open); n != 0 {
			t.Errorf("%d logs are opened before it is time", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(src.open); n != 2 {
			t.Errorf("%d logs are opened at a time", n)
		}
		close(src.more)
		synctest.Wait()
		if n := len(src.open); n != 4 {
			t.Errorf("%d logs were opened anew", n)
		}
		if info, err := os.Stat(src.paths["gone"]); err != nil || info.Size() != 0 {
			t.Errorf("the log that was taken away: %v", err)
		}
		cancel()
		<-done
	})
}

func TestNotRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &oneLog{path: write(t, "x"), fail: os.ErrClosed}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := NewRotator(src, Bounds{MaxSize: -1}, slog.New(slog.DiscardHandler)).Run(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if old, err := rotated(src.path); err != nil || len(old) != 0 {
			t.Errorf("%v, %v", old, err)
		}
	})
}

// TestTailOfAnyLog compares the end of logs with all of them.
func TestTailOfAnyLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		var b strings.Builder
		for range rng.IntN(40) {
			tag := "FP"[rng.IntN(4)/3]
			fmt.Fprintf(&b, "2026-11-22T10:00:00.000000001Z stdout %c %s\n", tag, strings.Repeat("x", rng.IntN(1<<rng.IntN(16))))
		}
		path := write(t, b.String())
		var all bytes.Buffer
		if err := Read(context.Background(), path, Options{All: true, Stdout: &all}); err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(all.String()))
		for n := range len(lines) + 2 {
			var end bytes.Buffer
			if err := Read(context.Background(), path, Options{Tail: int64(n), Stdout: &end}); err != nil {
				t.Fatal(err)
			}
			if want := strings.Join(lines[max(0, len(lines)-n):], ""); end.String() != want {
				t.Fatalf("the last %d of %d lines are %d bytes, want %d", n, len(lines), end.Len(), len(want))
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "2026-11-22T10:00:00.000000001Z stdout F a line of a log as programs write them, with some words in it and a number: %d\n", i)
	}
	path := write(b, text.String())
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := Read(context.Background(), path, Options{All: true, Stdout: io.Discard}); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(sample) {
		f.Add([]byte(line))
	}
	f.Add([]byte("2026-11-22T10:00:00Z stdout"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := parse(raw)
		if err == nil && len(l.text) > len(raw) {
			t.Errorf("%d bytes of text in a line of %d", len(l.text), len(raw))
		}
	})
}
