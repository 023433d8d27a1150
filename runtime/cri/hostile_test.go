package cri_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/cri"
)

// TestAllAtOnce throws verbs at the same containers from all sides. What each answers is not looked at: afterwards nothing
// may be left, and nothing may hang.
func TestAllAtOnce(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			resp, err := h.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: h.pod(fmt.Sprint("storm", i))})
			if err != nil {
				t.Error(err)
				return
			}
			pod := resp.PodSandboxId
			var verbs sync.WaitGroup
			defer verbs.Wait()
			for j := range 4 {
				c, err := h.rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: ctr(fmt.Sprint("c", j), "sleep", "1h")})
				if err != nil {
					t.Error(err)
					return
				}
				for k := range 3 {
					rng := rand.New(rand.NewPCG(uint64(i), uint64(j*10+k)))
					verbs.Go(func() { verbStorm(ctx, h.rt, pod, c.ContainerId, rng) })
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("something hung")
	}
}

func verbStorm(ctx context.Context, rt *cri.Runtime, pod, id string, rng *rand.Rand) {
	for range 6 {
		switch rng.IntN(8) {
		case 0, 1, 2:
			rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
		case 3:
			rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: int64(rng.IntN(2))})
		case 4:
			rt.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"box", "fork"}, Timeout: 5})
		case 5:
			rt.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: id})
			rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
		case 6:
			rt.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
		case 7:
			if rng.IntN(6) == 0 {
				rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod})
			}
		}
	}
}

// TestGivenUp cancels requests in the middle.
func TestGivenUp(t *testing.T) {
	h := newHost(t)
	pod := h.runPod(h.pod("impatient"))
	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		if _, err := h.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: h.pod(fmt.Sprint("given-up", i))}); err == nil {
			t.Logf("pod %d was made in %d ms", i, i)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		id := h.create(pod, nil, ctr(fmt.Sprint("c", i), "sleep", "1h"))
		_, err := h.rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
		cancel()
		if s := h.status(id).State; err == nil && s != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("started, but %s", s)
		}
		h.exec(id, "box", "echo") // a caller that gives up does not end a start
	}
}
