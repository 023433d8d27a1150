package cri_test

import (
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/apparmor"
)

// TestAppArmor: where the kernel has it, a container is confined whatever it says of it, unless it asks not to be or is privileged. Where
// it has not, whoever asks is told.
func TestAppArmor(t *testing.T) {
	h := newHost(t)
	const byDefault, unconfined, local = runtimeapi.SecurityProfile_RuntimeDefault, runtimeapi.SecurityProfile_Unconfined, runtimeapi.SecurityProfile_Localhost
	field := func(kind runtimeapi.SecurityProfile_ProfileType, ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
	}
	const confined, free = "proa-default (enforce)\n", "unconfined\n"
	pod := h.runPod(h.pod("confined"))
	for _, c := range []struct {
		name       string
		field      *runtimeapi.SecurityProfile
		old        string
		privileged bool
		label      string // of its processes
		want       string // error
	}{
		{"nothing said", nil, "", false, confined, ""},
		{"default", field(byDefault, ""), "", false, confined, ""},
		{"default, older", nil, "runtime/default", false, confined, ""},
		{"unconfined", field(unconfined, ""), "", false, free, ""},
		{"unconfined, older", nil, "unconfined", false, free, ""},
		{"the newer field counts", field(unconfined, ""), "localhost/no-such", false, free, ""},
		{"privileged", nil, "", true, free, ""},
		{"privileged, default", field(byDefault, ""), "", true, free, ""},
		{"by name", field(local, apparmor.Default), "", false, confined, ""},
		{"by name, privileged", field(local, "localhost/"+apparmor.Default), "", true, confined, ""},
		{"not loaded", field(local, "no such"), "", false, "", "apparmor profile not found no such"},
		{"not loaded, older", nil, "localhost/no-such", false, "", "apparmor profile not found no-such"},
		{"nonsense", nil, "nonsense", false, "", `invalid apparmor profile "nonsense"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := ctr(strings.ReplaceAll(c.name, " ", "-"), "sleep", "1h")
			sc := config.Linux.SecurityContext
			sc.Apparmor, sc.ApparmorProfile, sc.Privileged = c.field, c.old, c.privileged
			asks := c.field == nil && c.old != "" && c.old != "unconfined" || c.field != nil && c.field.ProfileType != unconfined
			if !apparmor.Open().Enabled() && asks && c.name != "nonsense" {
				c.want = "apparmor is not supported: the kernel of this host has none"
			}
			made, err := h.rt.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: h.pod("confined")})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("made with %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.rt.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
				t.Fatal(err)
			}
			if !apparmor.Open().Enabled() {
				return
			}
			for _, of := range []string{"1", "self"} { // of the container, and of what is executed in it
				if got := string(h.exec(made.ContainerId, "box", "cat", "/proc/"+of+"/attr/current").Stdout); got != c.label {
					t.Errorf("/proc/%s is %q, want %q", of, got, c.label)
				}
			}
		})
	}
}
