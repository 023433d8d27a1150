package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const pods = 10000

// stored measures what pods take that only lie in the store.
func (b *bench) stored(ctx context.Context, h *host) error {
	const path = "/api/v1/namespaces/default/pods"
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
	// Nobody schedules them, so nothing else happens to them.
	body := func(i int) []byte {
		return fmt.Appendf(nil, `{"metadata":{"name":"p-%d","labels":{"app":"web","tier":"front"}},"spec":{"schedulerName":"nobody","containers":[{"name":"web",`+
			`"image":"registry.example/team/web:v1.2.3","ports":[{"containerPort":8080}],"env":[{"name":"MODE","value":"production"},{"name":"LEVEL","value":"info"}],`+
			`"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"memory":"128Mi"}},"readinessProbe":{"httpGet":{"path":"/ready","port":8080}}}]}}`, i)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for w := range errs {
		wg.Go(func() {
			for i := next.Add(1); i <= pods && errs[w] == nil; i = next.Add(1) {
				_, errs[w] = h.api.do(ctx, http.MethodPost, path, body(int(i)), "")
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := rest(ctx, 2*time.Minute); err != nil { // the collector gives memory back by and by
		return err
	}
	after, _, err := resident(pid)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("resident memory for %d stored pods", pods), "-", "-", "%.0f MB more (%.0f -> %.0f MB); %.1f kB each", mb(after-before), mb(before), mb(after), float64(after-before)/1e3/pods)
	return nil
}
