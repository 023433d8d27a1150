package cri_test

import (
	"os/exec"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestHandler runs pods of a runtime class with runc beside those of the built-in runtime.
func TestHandler(t *testing.T) {
	path, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("runc is not installed")
	}
	h := newHost(t)
	h.stop()
	h.deps.Handlers = map[string]string{"careful": path}
	h.start()
	st, err := h.rt.Status(t.Context(), &runtimeapi.StatusRequest{})
	if err != nil || len(st.RuntimeHandlers) != 2 {
		t.Errorf("handlers %v, %v", st, err)
	}
	resp, err := h.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: h.pod("careful"), RuntimeHandler: "careful"})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.output(resp.PodSandboxId, ctr("echo", "hostname")); got != "careful\n" {
		t.Errorf("got %q", got)
	}
	user := ctr("user", "id")
	user.Linux.SecurityContext.RunAsUsername = "alice"
	if got := h.output(resp.PodSandboxId, user); got != "uid 1000 gid 1001 groups [50 1001]\n" {
		t.Errorf("got %q", got)
	}
	id := h.run(resp.PodSandboxId, ctr("main", "sleep", "1h"))
	if r := h.exec(id, "box", "status", "NoNewPrivs", "Seccomp", "CapEff"); string(r.Stdout) != "CapEff 00000000a80425fb\nNoNewPrivs 1\nSeccomp 2\n" {
		t.Errorf("got %q, %q", r.Stdout, r.Stderr)
	}
	tty := ctr("tty", "tty")
	tty.Tty = true
	if got := h.output(resp.PodSandboxId, tty); !strings.HasPrefix(got, "tty true true") {
		t.Errorf("terminal: %q", got)
	}
	missing := ctr("missing")
	missing.Command = []string{"nope"}
	_, err = h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: h.create(resp.PodSandboxId, nil, missing)})
	if err == nil {
		t.Error("started a program that is not there")
	}
	h.stop()
	h.start() // and adopts them
	if r := h.exec(id, "box", "echo", "adopted"); string(r.Stdout) != "adopted\n" {
		t.Errorf("got %q, %q", r.Stdout, r.Stderr)
	}
	if got := h.output(h.runPod(h.pod("plain")), ctr("echo", "echo", "built in")); got != "built in\n" {
		t.Errorf("got %q", got)
	}
}
