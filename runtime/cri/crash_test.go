package cri_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cri"
)

// crashDir names, in the environment, the directory with the crash.json of a process that crashMain is.
const crashDir = "PROA_TEST_CRASH_DIR"

// crashConfig is what a process needs to work on the same host.
type crashConfig struct {
	Root, Run, CgroupParent, KeeperPath, Layer, Snapshots string
}

// TestKill kills a process that makes and removes pods as fast as it can, with SIGKILL and at random moments, and starts it
// again. In the end a runtime finds all that is left, can remove it, and leaves nothing.
func TestKill(t *testing.T) {
	h := newHost(t)
	h.stop()
	dir := t.TempDir()
	data, err := json.Marshal(crashConfig{h.deps.Root, h.deps.Run, h.deps.CgroupParent, h.deps.KeeperPath, h.images.layer, h.images.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "crash.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it works
			t.Fatalf("the process did not come up: %v, %v", err, cmd.Wait())
		}
		time.Sleep(time.Duration(rng.IntN(150_000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // "signal: killed"
	}
	h.start()
	pods, err := h.rt.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.State != runtimeapi.PodSandboxState_SANDBOX_READY {
			t.Logf("pod %s is %s", p.Metadata.Name, p.State) // stopped before the kill
		}
	}
	t.Logf("%d pods were whole", len(pods.Items))
	h.network.attached = nil // the network was in the killed processes
}

// crashMain makes and removes pods until it is killed.
func crashMain(dir string) {
	data, err := os.ReadFile(filepath.Join(dir, "crash.json"))
	check(err)
	var c crashConfig
	check(json.Unmarshal(data, &c))
	h := &host{t: failing{}, images: &boxImages{layer: c.Layer, dir: c.Snapshots}, network: &lonely{attached: map[string]bool{}}}
	h.deps = cri.Deps{Root: c.Root, Run: c.Run, CgroupParent: c.CgroupParent, KeeperPath: c.KeeperPath, Images: h.images, Network: h.network, Log: slog.New(slog.DiscardHandler)}
	rt, err := cri.New(h.deps)
	check(err)
	go func() { check(rt.Run(context.Background())) }()
	h.rt = rt
	ctx := context.Background()
	_, err = rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	check(err)
	fmt.Print("x")
	for worker := range 3 {
		go func() {
			for i := 0; ; i++ {
				name := fmt.Sprintf("crash-%d-%d-%d", os.Getpid(), worker, i)
				pod, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: h.pod(name)})
				check(err)
				ctr, err := rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod.PodSandboxId, Config: ctr("main", "sleep", "1h")})
				check(err)
				_, err = rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: ctr.ContainerId})
				check(err)
				_, err = rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId})
				check(err)
			}
		}()
	}
	select {}
}

// failing is what a host in crashMain reports to.
type failing struct{ testing.TB }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash process:", err)
		os.Exit(1)
	}
}
