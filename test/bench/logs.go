package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
)

const (
	// logConfig rotates at logSize, and keeps everything.
	logConfig = "  containerLogMaxSize: 32Mi\n  containerLogMaxFiles: 1000\n"
	logSize   = 32 << 20
	logImage  = "docker.io/proa/writer:v1"
	written   = 512 << 20 // bytes of one log, of the text alone
	lastLine  = "written in "
)

// talk is one way of writing.
type talk struct {
	line    int // bytes of a line, with its end
	atOnce  int // bytes of a write; 0: each line by itself
	measure string
}

// logRates measures how fast a container writes its log while it is rotated and followed. Every line has a number, and has to be found, once
// and in order, both in the files and by the follower.
func (b *bench) logRates(ctx context.Context, h *host) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file := filepath.Join(h.Dir, "writer.tar")
	_, err = archive.BuildFile(file, archive.Spec{Names: []string{logImage}, Config: ocispec.ImageConfig{Entrypoint: []string{"/bench"}},
		Layers: [][]archive.File{{{Path: "/bench", Mode: 0o755, Source: self}}}})
	if err != nil {
		return err
	}
	if out, err := h.Command("proa", "image", "import", file).CombinedOutput(); err != nil {
		return fmt.Errorf("proa image import: %w: %s", err, out)
	}
	for i, t := range []talk{
		{100, 0, "lines of 100 bytes, each by itself"}, {100, 64 << 10, "lines of 100 bytes, 64 KiB at once"},
		{1 << 10, 0, "lines of 1 KiB, each by itself"}, {40 << 10, 0, "lines of 40 KiB, in parts"},
	} {
		if err := b.logRate(ctx, h, fmt.Sprintf("writer-%d", i), t); err != nil {
			return fmt.Errorf("%s: %w", t.measure, err)
		}
	}
	return nil
}

func (b *bench) logRate(ctx context.Context, h *host, name string, t talk) error {
	const path = "/api/v1/namespaces/default/pods"
	pid, err := h.daemon()
	if err != nil {
		return err
	}
	was, err := cpu(pid)
	if err != nil {
		return err
	}
	body := fmt.Appendf(nil, `{"metadata":{"name":%q},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":%q,"args":["-write","%d","-line","%d","-chunk","%d"]}]}}`,
		name, logImage, written, t.line, t.atOnce)
	if _, err := h.api.do(ctx, http.MethodPost, path, body, ""); err != nil {
		return err
	}
	defer func() { _ = h.kubectl("delete", "pod", name, "--timeout=60s") }()
	if err := h.kubectl("wait", "pod/"+name, "--for=jsonpath={.status.phase}=Running", "--timeout=60s"); err != nil {
		return err
	}
	began := time.Now()
	said, err := h.followLog(ctx, path+"/"+name+"/log?follow=true", t.line)
	if err != nil {
		return fmt.Errorf("follow the log: %w", err)
	}
	followed := time.Since(began)
	took, err := time.ParseDuration(strings.TrimPrefix(said, lastLine))
	if err != nil {
		return err
	}
	now, err := cpu(pid)
	if err != nil {
		return err
	}
	kept, err := h.keepersCPU()
	if err != nil {
		return err
	}
	files, err := h.logFiles(ctx, name)
	if err != nil {
		return err
	}
	count := lineCheck{length: t.line}
	for _, f := range files {
		if err := count.file(f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	if lines := int64(written / t.line); count.next != lines || count.last != said {
		return fmt.Errorf("%d lines of %d are in the files, and %q", count.next, lines, count.last)
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 / mb(written) }
	b.add("log, "+t.measure, "-", "100 MB/s", "%.0f MB/s, %.1f ms of CPU for 1 MB; followed at %.0f MB/s, %.1f ms; %d lines in %d files, none lost",
		mb(written)/took.Seconds(), per(kept), mb(written)/followed.Seconds(), per(now-was), count.next, len(files))
	return nil
}

// keepersCPU is what all keepers have used since their start.
func (h *host) keepersCPU() (sum time.Duration, err error) {
	keepers, _, err := h.keepers()
	if err != nil {
		return 0, err
	}
	for _, k := range keepers {
		d, err := cpu(k)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// followLog reads a log until its last line, which it returns.
func (h *host) followLog(ctx context.Context, path string, length int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.api.server+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := h.api.another(h.Machine).http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	count := lineCheck{length: length}
	for in := bufio.NewReaderSize(resp.Body, 1<<20); count.last == ""; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", fmt.Errorf("after line %d: %w", count.next, err)
		}
		if err := count.line(line); err != nil {
			return "", err
		}
	}
	if n := int64(written / length); count.next != n {
		return "", fmt.Errorf("%d lines of %d", count.next, n)
	}
	return count.last, nil
}

// logFiles are those of a pod's container, the oldest first, once the last of them is too small to be rotated.
func (h *host) logFiles(ctx context.Context, pod string) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(h.Dir, "pods", "default_"+pod+"_*", "c"))
	if err != nil || len(dirs) != 1 {
		return nil, fmt.Errorf("log directories of %s: %v, %w", pod, dirs, err)
	}
	current := filepath.Join(dirs[0], "0.log")
	err = poll(ctx, 2*time.Minute, func() bool {
		info, err := os.Stat(current)
		return err == nil && info.Size() < logSize
	})
	if err != nil {
		return nil, fmt.Errorf("the log is not rotated: %w", err)
	}
	list, err := filepath.Glob(current + ".*")
	slices.Sort(list) // by their times
	return append(list, current), err
}

// lineCheck wants every line once, in order: its number, then filler, as long as was asked for.
type lineCheck struct {
	length int
	next   int64
	last   string // the line after all others
	part   []byte
}

func (c *lineCheck) line(line []byte) error {
	if text := string(line[:min(len(line), 64)]); strings.HasPrefix(text, lastLine) {
		c.last = strings.TrimSpace(text)
		return nil
	}
	text, _, _ := bytes.Cut(line, []byte(" "))
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n != c.next || len(line) != c.length {
		return fmt.Errorf("where line %d of %d bytes should be there is one of %d: %.40q", c.next, c.length, len(line), line)
	}
	c.next++
	return nil
}

// file reads one file of CRI's log format.
func (c *lineCheck) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	for in := bufio.NewReaderSize(r, 1<<20); ; {
		entry, err := in.ReadSlice('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f := bytes.SplitN(entry, []byte(" "), 4)
		if len(f) < 4 {
			return fmt.Errorf("no entry of a log: %.80q", entry)
		}
		if string(f[2]) == "P" {
			c.part = append(c.part, bytes.TrimSuffix(f[3], []byte("\n"))...)
			continue
		}
		c.part = append(c.part, f[3]...)
		if err := c.line(c.part); err != nil {
			return err
		}
		c.part = c.part[:0]
	}
}

// writeLines is what the container does: so many bytes in lines with numbers, then how long that took; then it waits for its end.
func writeLines(total int64, length, atOnce int) error {
	line := bytes.Repeat([]byte("x"), length)
	line[12], line[length-1] = ' ', '\n'
	var out io.Writer = os.Stdout
	flush := func() error { return nil }
	if atOnce > 0 {
		b := bufio.NewWriterSize(os.Stdout, atOnce)
		out, flush = b, b.Flush
	}
	began := time.Now()
	for i := range total / int64(length) {
		number(line[:12], i)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if err := flush(); err != nil {
		return err
	}
	_, err := fmt.Printf("%s%v\n", lastLine, time.Since(began))
	time.Sleep(10 * time.Minute) // it is deleted long before
	return err
}

// number writes n in decimal digits, as many as there is room for.
func number(digits []byte, n int64) {
	for k := len(digits) - 1; k >= 0; k-- {
		digits[k] = byte('0' + n%10)
		n /= 10
	}
}
