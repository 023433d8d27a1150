package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type conditions struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Phase      string `json:"phase"`
		Conditions []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

func nodeReady(c conditions) bool {
	for _, cond := range c.Status.Conditions {
		if cond.Type == "Ready" && cond.Status == "True" {
			return true
		}
	}
	return false
}

func podRunning(c conditions) bool { return c.Status.Phase == "Running" }

// waitFor watches until one object is as it should.
func (h *host) waitFor(ctx context.Context, path string, ok func(conditions) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.api.watch(ctx, path, func(_ string, object json.RawMessage) bool {
		var c conditions
		return json.Unmarshal(object, &c) == nil && ok(c)
	})
}

// pods measures create -> Running as a watch sees it: 20 one after another, then 30 at once; pods with one container, no probes.
func (b *bench) pods(ctx context.Context, h *host) error {
	var single spread
	for i := range 20 {
		took, err := h.createPods(ctx, fmt.Sprintf("one-%d", i), 1)
		if err != nil {
			return err
		}
		single = append(single, took)
	}
	b.add("pod create -> Running seen by a watch, p50 / p99 of 20", "60 / 200 ms", "10 / 40 ms", "%s / %s", ms(single.at(0.5)), ms(single.at(0.99)))
	var burst spread
	for i := range 3 {
		took, err := h.createPods(ctx, fmt.Sprintf("many-%d", i), 30)
		if err != nil {
			return err
		}
		burst = append(burst, took)
	}
	b.add("30 pods at once -> all Running", "2 s", "300 ms", "%s", burst.median())
	return nil
}

// createPods creates n pods at once in a namespace of their own, waits until all run, and deletes them again.
func (h *host) createPods(ctx context.Context, name string, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	running, gone, watching := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	up, left := map[string]bool{}, n
	go func() {
		path := "/api/v1/namespaces/default/pods?watch=1&labelSelector=bench%3D" + name
		watching <- h.api.watch(ctx, path, func(kind string, object json.RawMessage) bool {
			var c conditions
			if json.Unmarshal(object, &c) != nil {
				return false
			}
			if podRunning(c) && !up[c.Metadata.Name] {
				if up[c.Metadata.Name] = true; len(up) == n {
					close(running)
				}
			}
			if kind == "DELETED" {
				if left--; left == 0 {
					close(gone)
					return true
				}
			}
			return false
		})
	}()
	start := time.Now()
	errs := make(chan error, n)
	for i := range n {
		body := strings.Replace(firstPod, `"name":"first"`, fmt.Sprintf(`"name":"%s-%d","labels":{"bench":"%s"}`, name, i, name), 1)
		go func() {
			_, err := h.api.do(ctx, http.MethodPost, "/api/v1/namespaces/default/pods", []byte(body), "")
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	select {
	case <-running:
	case err := <-watching:
		return 0, fmt.Errorf("watch the pods: %w", err)
	}
	took := time.Since(start)
	if _, err := h.api.do(ctx, http.MethodDelete, "/api/v1/namespaces/default/pods?labelSelector=bench%3D"+name+"&gracePeriodSeconds=1", nil, ""); err != nil {
		return 0, err
	}
	select {
	case <-gone:
	case <-ctx.Done():
		return 0, fmt.Errorf("delete the pods: %w", ctx.Err())
	}
	return took, nil
}
