package cri_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"proa.dev/runtime/cri"
)

// sink collects what is written to it.
type sink struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *sink) Close() error { return nil }

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestExec(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("exec"))
	id := h.run(pod, ctr("main", "sleep", "1h"))
	if r := h.exec(id, "box", "both"); string(r.Stdout) != "to stdout\n" || string(r.Stderr) != "to stderr\n" || r.ExitCode != 0 {
		t.Errorf("got %v", r)
	}
	if r := h.exec(id, "box", "exit", "3"); r.ExitCode != 3 {
		t.Errorf("exit code %d", r.ExitCode)
	}
	if got := string(h.exec(id, "box", "status", "CapEff", "Seccomp", "NoNewPrivs").Stdout); got != "CapEff 00000000a80425fb\nNoNewPrivs 1\nSeccomp 2\n" {
		t.Errorf("an exec is confined otherwise than its container: %q", got)
	}
	if got := string(h.exec(id, "box", "ps").Stdout); !strings.HasPrefix(got, "1 box sleep 1h\n") {
		t.Errorf("processes %q", got)
	}
	_, err := h.rt.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"nope"}})
	if err == nil || !strings.Contains(err.Error(), `exec: "nope": executable file not found in $PATH`) {
		t.Errorf("missing program: %v", err)
	}
	from := time.Now()
	_, err = h.rt.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"box", "sleep", "1h"}, Timeout: 1})
	if err == nil || time.Since(from) > 5*time.Second {
		t.Errorf("timeout: %v after %v", err, time.Since(from))
	}
	await(t, "the timed out process to be gone", func() bool { return strings.Count(string(h.exec(id, "box", "ps").Stdout), "sleep") == 1 })
	h.rt.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id})
	h.awaitExit(id)
	if _, err = h.rt.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"box"}}); err == nil {
		t.Error("exec in a container that has exited")
	}
}

func TestExecStreams(t *testing.T) {
	h := newHost(t)
	id := h.run(h.runPod(h.pod("streams")), ctr("main", "sleep", "1h"))
	input := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB through the pipes
	var out sink
	if err := h.rt.ExecIn(t.Context(), id, []string{"box", "cat"}, cri.Stdio{In: strings.NewReader(input), Out: &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != input {
		t.Errorf("%d bytes came back of %d", len(out.String()), len(input))
	}
	sizes := make(chan remotecommand.TerminalSize, 1)
	sizes <- remotecommand.TerminalSize{Width: 132, Height: 43}
	r, w := io.Pipe()
	var tty sink
	done := make(chan error, 1)
	go func() {
		done <- h.rt.ExecIn(t.Context(), id, []string{"box", "cat"}, cri.Stdio{In: r, Out: &tty, TTY: true, Resize: sizes})
	}()
	io.WriteString(w, "typed\n")
	await(t, "the terminal to echo", func() bool { return strings.Count(tty.String(), "typed") == 2 })
	w.Close()
	if err := <-done; err != nil {
		t.Errorf("terminal session: %v", err)
	}
	var code interface{ ExitStatus() int }
	err := h.rt.ExecIn(t.Context(), id, []string{"box", "exit", "9"}, cri.Stdio{Out: &out})
	if !errors.As(err, &code) || code.ExitStatus() != 9 {
		t.Errorf("exit code: %v", err)
	}
	resp, err := h.rt.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"box", "echo"}, Stdout: true})
	if err != nil || !strings.HasPrefix(resp.Url, "http://127.0.0.1:") {
		t.Errorf("exec URL %v, %v", resp, err)
	}
}

func TestAttach(t *testing.T) {
	h := newHost(t)
	config := ctr("main", "cat")
	config.Stdin, config.StdinOnce = true, true
	id := h.run(h.runPod(h.pod("attach")), config)
	r, w := io.Pipe()
	var out sink
	done := make(chan error, 1)
	go func() { done <- h.rt.AttachTo(t.Context(), id, cri.Stdio{In: r, Out: &out}) }()
	io.WriteString(w, "through attach\n")
	await(t, "output", func() bool { return out.String() == "through attach\n" })
	w.Close() // ends cat, and with it the container
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := h.awaitExit(id); s.ExitCode != 0 || logged(t, s) != "through attach\n" {
		t.Errorf("code %d, logged %q", s.ExitCode, logged(t, s))
	}
	if err := h.rt.AttachTo(t.Context(), id, cri.Stdio{Out: &out}); err == nil {
		t.Error("attached to a container that has exited")
	}
}

func TestPortForward(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("forward"))
	id := h.run(pod, ctr("main", "listen", "127.0.0.1:80"))
	await(t, "listener", func() bool { return logged(t, h.status(id)) == "listening\n" })
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- h.rt.ForwardPort(t.Context(), pod, 80, theirs) }()
	io.WriteString(ours, "ping")
	buf := make([]byte, 4)
	if _, err := io.ReadFull(ours, buf); err != nil || string(buf) != "ping" {
		t.Errorf("got %q, %v", buf, err)
	}
	ours.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	ours, theirs = net.Pipe()
	defer ours.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := h.rt.ForwardPort(ctx, pod, 81, theirs); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("closed port: %v", err)
	}
}
