package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	r := NewRotator(src, 100, 3, slog.New(slog.DiscardHandler))
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
