package serve

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ownNames are the services that this process is: who knows Kubernetes asks for the kubelet.
var ownNames = []string{"kubelet", "proa"}

const maxLine = 1 << 20 // bytes

// ownUnit is the name of the systemd service that this process is, without ".service"; "" if it is none.
func (s *Server) ownUnit() string {
	data, err := os.ReadFile(filepath.Join(s.Proc, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) { // of v2, or of v1's hierarchy that systemd has
		id, path, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(path, ":")
		if id != "0" && controllers != "name=systemd" {
			continue
		}
		if unit, ok := strings.CutSuffix(filepath.Base(path), ".service"); ok {
			return unit
		}
	}
	return ""
}

// ownLog opens the file that this process's own words go to; nil if they go elsewhere.
func (s *Server) ownLog() *os.File {
	words := filepath.Join(s.Proc, "fd", "2")
	if info, err := os.Stat(words); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(words)
	if err != nil {
		return nil
	}
	return f
}

// copyOwn sends what is asked for of this process's own log. The lines say when they were written, so that every option can be answered.
func (q *logQuery) copyOwn(w io.Writer, log io.Reader) error {
	since, until := q.since, q.until
	if q.boot != nil && *q.boot < 0 {
		_, err := fmt.Fprintf(w, "Data from the specified boot (%d) is not available.\n", *q.boot)
		return err
	}
	if q.boot != nil {
		if at := booted(time.Now()); since == nil || since.Before(at) {
			since = &at
		}
	}
	pattern, err := regexp.Compile("(?i)" + q.pattern)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxLine)
	in := since == nil && until == nil // the moment is right: that of a line without one is that of the line before it
	var last [][]byte
	for lines.Scan() {
		line := lines.Bytes()
		if at, ok := written(line); ok {
			in = (since == nil || !at.Before(*since)) && (until == nil || !at.After(*until))
		}
		if !in || !pattern.Match(line) {
			continue
		}
		if q.tail == nil {
			if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
				return err
			}
			continue
		}
		last = append(last, bytes.Clone(line))
		if len(last) > 2*(*q.tail) { // now and then, so that not every line moves the others
			last = slices.Clone(last[len(last)-*q.tail:])
		}
	}
	if q.tail != nil {
		for _, line := range last[max(len(last)-*q.tail, 0):] {
			if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// written is the time that a line of our log begins with, as text or as JSON.
func written(line []byte) (time.Time, bool) {
	for before, after := range map[string]string{"time=": " ", `{"time":"`: `"`} {
		rest, ok := bytes.CutPrefix(line, []byte(before))
		if !ok {
			continue
		}
		text, _, _ := bytes.Cut(rest, []byte(after))
		at, err := time.Parse(time.RFC3339Nano, string(text))
		return at, err == nil
	}
	return time.Time{}, false
}

// booted is when the machine started.
func booted(now time.Time) time.Time {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return time.Time{}
	}
	return now.Add(-time.Duration(info.Uptime) * time.Second)
}

// sendOwn answers a query for this process's own log from its file; false if there is none.
func (s *Server) sendOwn(w io.Writer, q *logQuery, name string) bool {
	f := s.ownLog()
	if f == nil {
		return false
	}
	defer f.Close()
	if err := q.copyOwn(w, f); err != nil && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(w, "\nerror getting log for %s: %v\n", name, err)
	}
	return true
}
