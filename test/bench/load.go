package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// objects is how many ConfigMaps one round touches.
const objects = 5000

const configMaps = "/api/v1/namespaces/load/configmaps"

// load measures create, get, list and update of 1 KiB ConfigMaps in one namespace.
func (b *bench) load(ctx context.Context, h *host) error {
	if _, err := h.api.do(ctx, http.MethodPost, "/api/v1/namespaces", []byte(`{"metadata":{"name":"load"}}`), ""); err != nil {
		return err
	}
	value := strings.Repeat("x", 1024)
	body := func(name, mark string) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"mark":"%s","v":"%s"}}`, name, mark, value)
	}
	name := func(workers, i int) string { return fmt.Sprintf("w%d-%d", workers, i) }
	budgets := map[int][2]string{1: {"1,000 /s; 0.4 ms CPU", "1,500 /s; 0.2 ms"}, 16: {"3,000 /s; 0.4 ms", "5,000 /s; 0.2 ms"}, 64: {"4,000 /s; 0.4 ms", "7,000 /s; 0.2 ms"}}
	for _, workers := range []int{1, 16, 64} {
		err := b.rounds(ctx, h, workers, fmt.Sprintf("create 1 KiB ConfigMap, %d workers", workers), budgets[workers], func(i int) error {
			_, err := h.api.do(ctx, http.MethodPost, configMaps, body(name(workers, i), "a"), "")
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, workers := range []int{1, 16, 64} {
		err := b.rounds(ctx, h, workers, fmt.Sprintf("get, %d workers", workers), [2]string{"10,000 /s; 0.12 ms (64)", "25,000 /s; 0.05 ms"}, func(i int) error {
			_, err := h.api.do(ctx, http.MethodGet, configMaps+"/"+name(workers, i), nil, "")
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, workers := range []int{1, 16, 64} {
		err := b.rounds(ctx, h, workers, fmt.Sprintf("update, %d workers", workers), [2]string{"3,000 /s (64)", "7,000 /s; 0.2 ms"}, func(i int) error {
			_, err := h.api.do(ctx, http.MethodPut, configMaps+"/"+name(workers, i), body(name(workers, i), "b"), "")
			return err
		})
		if err != nil {
			return err
		}
	}
	return b.lists(ctx, h)
}

// rounds does op for each object once, spread over workers, and adds a line.
func (b *bench) rounds(ctx context.Context, h *host, workers int, what string, budget [2]string, op func(i int) error) error {
	pid, err := h.daemon()
	if err != nil {
		return err
	}
	used, err := cpu(pid)
	if err != nil {
		return err
	}
	var (
		next atomic.Int64
		wg   sync.WaitGroup
		mu   sync.Mutex // guards took and fail
		took spread
		fail error
	)
	start := time.Now()
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= objects || ctx.Err() != nil {
					return
				}
				began := time.Now()
				err := op(i)
				mu.Lock()
				took = append(took, time.Since(began))
				if err != nil && fail == nil {
					fail = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if fail != nil {
		return fmt.Errorf("%s: %w", what, fail)
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	b.add(what, budget[0], budget[1], "%.0f /s; p99 %s; %.2f ms CPU", objects/elapsed.Seconds(), ms(took.at(0.99)), float64((after-used)/objects)/1e6)
	return nil
}

// lists measures reading all objects of the namespace at once.
func (b *bench) lists(ctx context.Context, h *host) error {
	for _, form := range []struct{ name, accept, first, goal string }{
		{"JSON", "application/json", "90 ms", "38 ms"}, {"protobuf", "application/vnd.kubernetes.protobuf", "45 ms", "18 ms"},
	} {
		pid, err := h.daemon()
		if err != nil {
			return err
		}
		before, err := cpu(pid)
		if err != nil {
			return err
		}
		var took spread
		const times = 20
		for range times {
			start := time.Now()
			data, err := h.api.do(ctx, http.MethodGet, configMaps, nil, form.accept)
			if err != nil {
				return err
			}
			took = append(took, time.Since(start))
			if form.name == "JSON" && len(took) == 1 {
				var list struct{ Items []struct{} }
				if err := json.Unmarshal(data, &list); err != nil || len(list.Items) != 3*objects+1 {
					return fmt.Errorf("the list has %d items (%v), want %d", len(list.Items), err, 3*objects+1)
				}
			}
		}
		after, err := cpu(pid)
		if err != nil {
			return err
		}
		b.add(fmt.Sprintf("list %d ConfigMaps, %s, p50", 3*objects, form.name), form.first, form.goal, "%s; %.0f ms CPU", ms(took.at(0.5)), float64((after-before)/times)/1e6)
	}
	return nil
}
