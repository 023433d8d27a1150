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
	var single, gone spread
	for i := range 20 {
		up, down, err := h.createPods(ctx, fmt.Sprintf("one-%d", i), 1)
		if err != nil {
			return err
		}
		single, gone = append(single, up), append(gone, down)
	}
	b.add("pod create -> Running seen by a watch, p50 / p99 of 20", "60 / 200 ms", "10 / 40 ms", "%s / %s", ms(single.at(0.5)), ms(single.at(0.99)))
	b.add("pod delete -> gone from the API, its program ends at once, p50 / p99 of 20", "-", "-", "%s / %s", ms(gone.at(0.5)), ms(gone.at(0.99)))
	for _, n := range []int{30, 100} {
		budget := map[int][2]string{30: {"2 s", "300 ms"}, 100: {"-", "-"}}[n]
		var burst, ebb spread
		for i := range 3 {
			up, down, err := h.createPods(ctx, fmt.Sprintf("many-%d-%d", n, i), n)
			if err != nil {
				return err
			}
			burst, ebb = append(burst, up), append(ebb, down)
		}
		b.add(fmt.Sprintf("%d pods at once -> all Running", n), budget[0], budget[1], "%s", burst.median())
		b.add(fmt.Sprintf("%d pods deleted at once -> all gone", n), "-", "-", "%s", ebb.median())
	}
	return nil
}

// createPods creates n pods at once, waits until all run, and deletes them again: up and down are how long that takes.
func (h *host) createPods(ctx context.Context, name string, n int) (up, down time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	running, gone, watching := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	runs, left := map[string]bool{}, n
	go func() {
		path := "/api/v1/namespaces/default/pods?watch=1&labelSelector=bench%3D" + name
		watching <- h.api.watch(ctx, path, func(kind string, object json.RawMessage) bool {
			var c conditions
			if json.Unmarshal(object, &c) != nil {
				return false
			}
			if podRunning(c) && !runs[c.Metadata.Name] {
				if runs[c.Metadata.Name] = true; len(runs) == n {
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
			return 0, 0, err
		}
	}
	select {
	case <-running:
	case err := <-watching:
		return 0, 0, fmt.Errorf("watch the pods: %w", err)
	}
	up, start = time.Since(start), time.Now()
	if _, err := h.api.do(ctx, http.MethodDelete, "/api/v1/namespaces/default/pods?labelSelector=bench%3D"+name+"&gracePeriodSeconds=1", nil, ""); err != nil {
		return 0, 0, err
	}
	select {
	case <-gone:
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("delete the pods: %w", ctx.Err())
	}
	return up, time.Since(start), nil
}
