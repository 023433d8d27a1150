package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fanOut measures how updates reach watchers, each on a connection of its own.
func (b *bench) fanOut(ctx context.Context, h *host) error {
	if _, err := h.api.do(ctx, http.MethodPost, "/api/v1/namespaces", []byte(`{"metadata":{"name":"fan"}}`), ""); err != nil {
		return err
	}
	for _, watchers := range []int{1, 100, 1000} {
		if err := b.fan(ctx, h, watchers); err != nil {
			return fmt.Errorf("%d watchers: %w", watchers, err)
		}
	}
	return nil
}

// updates is how many changes the watchers of one round see.
const updates = 1000

func (b *bench) fan(ctx context.Context, h *host, watchers int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	const path = "/api/v1/namespaces/fan/configmaps"
	name := fmt.Sprintf("w%d", watchers)
	value := strings.Repeat("x", 1024)
	body := func(sent time.Time) []byte {
		return fmt.Appendf(nil, `{"metadata":{"name":"%s"},"data":{"sent":"%d","v":"%s"}}`, name, sent.UnixNano(), value)
	}
	if _, err := h.api.do(ctx, http.MethodPost, path, body(time.Now()), ""); err != nil {
		return err
	}
	var (
		wg, there sync.WaitGroup
		seen      atomic.Int64
		mu        sync.Mutex // guards took and fail
		took      spread
		fail      error
	)
	there.Add(watchers)
	for range watchers {
		wg.Go(func() {
			mine, err := h.follow(ctx, path+"?watch=1&fieldSelector=metadata.name="+name, &there, &seen)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if err != nil && fail == nil {
				fail = err
				cancel()
			}
		})
	}
	there.Wait()
	pid, err := h.daemon()
	if err != nil {
		return err
	}
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	start := time.Now()
	for range updates {
		if _, err := h.api.do(ctx, http.MethodPut, path+"/"+name, body(time.Now()), ""); err != nil {
			cancel()
			wg.Wait()
			return errors.Join(err, fail)
		}
	}
	wg.Wait()
	elapsed := time.Since(start)
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	if fail != nil {
		return fail
	}
	n := float64(seen.Load())
	b.add(fmt.Sprintf("watch fan-out, %d watchers x %d updates", watchers, updates), "150,000 /s; 8 us", "500,000 /s; 2 us",
		"%.0f /s; p50 %s, p99 %s; %.1f us CPU", n/elapsed.Seconds(), ms(took.at(0.5)), ms(took.at(0.99)), float64(after-before)/1e3/n)
	return nil
}

// follow watches until it has seen all updates and says how long each was under way.
func (h *host) follow(ctx context.Context, path string, there *sync.WaitGroup, seen *atomic.Int64) (spread, error) {
	a := h.api.another(h.Machine)
	defer a.http.CloseIdleConnections()
	took := make(spread, 0, updates)
	first := true
	err := a.watch(ctx, path, func(kind string, object json.RawMessage) bool {
		if first { // the object as it was
			first = false
			there.Done()
			return false
		}
		var o struct {
			Data struct {
				Sent int64 `json:"sent,string"`
			} `json:"data"`
		}
		if kind != "MODIFIED" || json.Unmarshal(object, &o) != nil {
			return true
		}
		took = append(took, time.Since(time.Unix(0, o.Data.Sent)))
		seen.Add(1)
		return len(took) == updates
	})
	if first {
		there.Done()
	}
	if err == nil && len(took) != updates {
		err = fmt.Errorf("a watch saw %d of %d updates", len(took), updates)
	}
	return took, err
}
