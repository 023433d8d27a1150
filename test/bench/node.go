package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
)

const (
	crowd    = 100      // pods that idle
	layer    = 64 << 20 // bytes of a file of the image that is imported
	layers   = 4
	execRuns = 50
)

// nodeRows measures what a node does beside starting pods: images, exec, many idle pods, and a daemon that is killed among them.
func (b *bench) nodeRows(ctx context.Context, h *host) error {
	if err := b.imports(ctx, h); err != nil {
		return err
	}
	pid, err := h.daemon()
	if err != nil {
		return err
	}
	if err := rest(ctx, settled); err != nil {
		return err
	}
	before, _, err := resident(pid)
	if err != nil {
		return err
	}
	manifest := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: crowd}, spec: {replicas: %d, selector: {matchLabels: {app: crowd}},
		template: {metadata: {labels: {app: crowd}}, spec: {containers: [{name: web, image: docker.io/proa/shop-web:v1,
		env: [{name: STORE_PASSWORD, value: x}]}]}}}}`, crowd)
	apply := h.Command("kubectl", "apply", "-f", "-")
	apply.Stdin = strings.NewReader("---\n" + manifest)
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, out)
	}
	if err := h.kubectl("rollout", "status", "deployment/crowd", "--timeout=120s"); err != nil {
		return err
	}
	if err := b.execs(h); err != nil {
		return err
	}
	if err := b.crowded(ctx, h, pid, before); err != nil {
		return err
	}
	return b.killed(ctx, h, pid)
}

func (h *host) kubectl(args ...string) error {
	if out, err := h.Command("kubectl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// imports measures an image of 256 MB that does not compress, from the archive to files that pods can use, and on to the disk.
func (b *bench) imports(ctx context.Context, h *host) error {
	content := make([]byte, layer)
	rand.Read(content) // never fails
	spec := archive.Spec{Names: []string{"docker.io/proa/big:v1"}, Config: ocispec.ImageConfig{Entrypoint: []string{"/0"}}}
	for i := range layers {
		content[0] = byte(i) // else one layer would do
		spec.Layers = append(spec.Layers, []archive.File{{Path: fmt.Sprintf("/%d", i), Mode: 0o644, Content: append([]byte(nil), content...)}})
	}
	file := filepath.Join(h.Dir, "big.tar")
	if _, err := archive.BuildFile(file, spec); err != nil {
		return err
	}
	var took spread
	for range 3 {
		start := time.Now()
		if out, err := h.Command("proa", "image", "import", file).CombinedOutput(); err != nil {
			return fmt.Errorf("proa image import: %w: %s", err, out)
		}
		took = append(took, time.Since(start))
		if out, err := h.Command("proa", "image", "rm", "docker.io/proa/big:v1").CombinedOutput(); err != nil {
			return fmt.Errorf("proa image rm: %w: %s", err, out)
		}
	}
	b.add(fmt.Sprintf("image import and unpack, %d layers of %d MB", layers, layer>>20), "-", "-", "%.0f MB/s", mb(layers*layer)/took.at(0.5).Seconds())
	return os.Remove(file)
}

// execs measures a command in a container from the dial to its exit code, a connection and a WebSocket each.
func (b *bench) execs(h *host) error {
	out, err := h.Command("kubectl", "get", "pods", "-l", "app=crowd", "-o", "jsonpath={.items[0].metadata.name}").Output()
	if err != nil {
		return err
	}
	url := strings.Replace(h.api.server, "https:", "wss:", 1) + "/api/v1/namespaces/default/pods/" + string(out) + "/exec?stdout=1&command=/web&command=-version"
	dial := websocket.Dialer{
		TLSClientConfig: h.api.tls.Clone(), Subprotocols: []string{"v5.channel.k8s.io"},
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) { return h.Dial(ctx, network, addr) },
	}
	var took spread
	for range execRuns {
		start := time.Now()
		conn, resp, err := dial.Dial(url, nil)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		resp.Body.Close()
		for status := ""; status == ""; {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return errors.Join(fmt.Errorf("exec: %w", err), conn.Close())
			}
			if len(message) > 0 && message[0] == 3 { // the stream of the exit code
				status = string(message[1:])
				if !strings.Contains(status, "Success") {
					return errors.Join(fmt.Errorf("exec: %s", status), conn.Close())
				}
			}
		}
		took = append(took, time.Since(start))
		conn.Close()
	}
	b.add(fmt.Sprintf("exec, dial to exit code, p50 / p99 of %d", execRuns), "-", "-", "%s / %s", ms(took.at(0.5)), ms(took.at(0.99)))
	return nil
}

// crowded measures what so many pods that do nothing cost.
func (b *bench) crowded(ctx context.Context, h *host, pid int, before int64) error {
	if err := rest(ctx, time.Minute); err != nil {
		return err
	}
	keepers, _, err := h.keepers()
	if err != nil {
		return err
	}
	total := func() (sum time.Duration, err error) {
		for _, p := range append([]int{pid}, keepers...) {
			d, err := cpu(p)
			if err != nil {
				return 0, err
			}
			sum += d
		}
		return sum, nil
	}
	from, err := total()
	if err != nil {
		return err
	}
	if err := rest(ctx, time.Minute); err != nil {
		return err
	}
	to, err := total()
	if err != nil {
		return err
	}
	rss, _, err := resident(pid)
	if err != nil {
		return err
	}
	var kept int64
	for _, k := range keepers {
		r, _, err := resident(k)
		if err != nil {
			return err
		}
		kept += r
	}
	b.add(fmt.Sprintf("memory per idle pod, of %d: daemon + keeper", crowd), "4 MB", "2 MB", "%.2f + %.1f MB (daemon %.0f -> %.0f MB)",
		mb(rss-before)/crowd, mb(kept/int64(max(len(keepers), 1))), mb(before), mb(rss))
	b.add(fmt.Sprintf("CPU in a minute, daemon and keepers, %d idle pods", crowd), "-", "-", "%s (%.2f %% of a core)", to-from, 100*float64(to-from)/float64(time.Minute))
	return nil
}

// killed measures the way back of a daemon that was killed among its pods, until it says that all of them are ready: it has told the API
// so after its start, and answers for each of them.
func (b *bench) killed(ctx context.Context, h *host, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	if err := poll(ctx, 10*time.Second, func() bool { return syscall.Kill(pid, 0) != nil }); err != nil {
		return fmt.Errorf("the daemon does not die: %w", err)
	}
	start := time.Now()
	stop, err := h.serve("again.log")
	if err != nil {
		return err
	}
	defer stop()
	err = poll(ctx, time.Minute, func() bool {
		summary, err := h.api.another(h.Machine).do(ctx, "GET", "/api/v1/nodes/box/proxy/stats/summary?only_cpu_and_memory=true", nil, "")
		return err == nil && strings.Count(string(summary), `"podRef"`) == crowd
	})
	if err != nil {
		return fmt.Errorf("wait for the node's summary: %w", err)
	}
	back := time.Since(start)
	if err := h.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=60s"); err != nil {
		return err
	}
	restarts, err := h.Command("kubectl", "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}").Output()
	if err != nil {
		return err
	}
	if n := strings.Count(" "+string(restarts), " 0"); n != crowd {
		return fmt.Errorf("%d of %d containers were not restarted", n, crowd)
	}
	b.add(fmt.Sprintf("daemon killed among %d pods: exec until it has all of them again", crowd), "-", "-", "%s, 0 restarts", ms(back))
	return nil
}
