package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/client/remote"
	"proa.dev/kit/run"
	"proa.dev/object"
	"proa.dev/sim"
)

// Sizes of the measure.
const (
	hollow   = 100
	replicas = 500
)

// nodes measures a Deployment from 0 to 500 replicas, until all are bound, on 100 simulated nodes.
func (b *bench) nodes(ctx context.Context, h *host) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	simulator := exec.CommandContext(ctx, self, "-simulate")
	simulator.Env = append(h.Command("proa").Env, "PROA_BIN="+h.Bin)
	simulator.Stderr = os.Stderr
	out, err := simulator.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.Within(simulator.Start); err != nil {
		return err
	}
	defer func() {
		simulator.Process.Kill()
		simulator.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("simulate nodes: %w", err)
	}
	var took spread
	for i := range 5 {
		d, err := h.scaleUp(ctx, fmt.Sprintf("big-%d", i))
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	b.add(fmt.Sprintf("Deployment 0 -> %d replicas bound, %d simulated nodes", replicas, hollow), "1 s", "150 ms", "%s", took.median())
	return nil
}

// scaleUp makes a Deployment, scales it up, waits until every pod is bound, and removes it.
func (h *host) scaleUp(ctx context.Context, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	const path = "/apis/apps/v1/namespaces/default/deployments"
	body := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%[1]q},"spec":{"replicas":0,"selector":{"matchLabels":{"app":%[1]q}},`+
		`"template":{"metadata":{"labels":{"app":%[1]q}},"spec":{"containers":[{"name":"c","image":"none"}]}}}}`, name)
	if _, err := h.api.do(ctx, http.MethodPost, path, []byte(body), ""); err != nil {
		return 0, err
	}
	bound, gone := map[string]bool{}, 0
	all, none, watching := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		watching <- h.api.watch(ctx, "/api/v1/namespaces/default/pods?watch=1&labelSelector=app%3D"+name, func(kind string, raw json.RawMessage) bool {
			var pod struct {
				Metadata struct{ Name string }
				Spec     struct{ NodeName string }
			}
			if json.Unmarshal(raw, &pod) != nil {
				return false
			}
			if pod.Spec.NodeName != "" && !bound[pod.Metadata.Name] {
				if bound[pod.Metadata.Name] = true; len(bound) == replicas {
					close(all)
				}
			}
			if kind == "DELETED" {
				if gone++; gone == replicas {
					close(none)
					return true
				}
			}
			return false
		})
	}()
	start := time.Now()
	scale := fmt.Sprintf(`{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":%q,"namespace":"default"},"spec":{"replicas":%d}}`, name, replicas)
	if _, err := h.api.do(ctx, http.MethodPut, path+"/"+name+"/scale", []byte(scale), ""); err != nil {
		return 0, err
	}
	select {
	case <-all:
	case err := <-watching:
		return 0, fmt.Errorf("watch the pods: %w", err)
	}
	took := time.Since(start)
	if _, err := h.api.do(ctx, http.MethodDelete, path+"/"+name, nil, ""); err != nil {
		return 0, err
	}
	select {
	case <-none:
		return took, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%d of %d pods were deleted: %w", gone, replicas, ctx.Err())
	}
}

// simulate plays hollow nodes for the cluster with this configuration until it is ended; it says "ready" when they are there.
func simulate(ctx context.Context) error {
	access, err := readAccess(exec.CommandContext(ctx, os.Getenv("PROA_BIN")+"/proa", "kubeconfig"))
	if err != nil {
		return err
	}
	api, err := remote.New(remote.Config{Host: access.server, TLS: access.tls})
	if err != nil {
		return err
	}
	view := remote.NewView(api, nil, object.Resource{GroupVersionResource: object.ResourceOf[core.Pod](), Kind: "Pod", Namespaced: true},
		object.Resource{GroupVersionResource: object.ResourceOf[core.Node](), Kind: "Node"})
	nodes, err := sim.New(sim.Deps{Client: api, View: view, Nodes: hollow, Leases: true})
	if err != nil {
		return err
	}
	err = run.All(ctx, run.Component{Name: "view", Run: view.Run}, run.Component{Name: "nodes", Run: nodes.Run},
		run.Component{Name: "ready", Run: func(ctx context.Context) error {
			select {
			case <-nodes.Ready():
				fmt.Println("ready")
			case <-ctx.Done():
			}
			<-ctx.Done()
			return ctx.Err()
		}})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
