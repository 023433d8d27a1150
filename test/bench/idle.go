package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// idle measures memory and CPU of every proa process with the shop running: a minute of rest, then a minute of looking.
func (b *bench) idle(ctx context.Context, h *host) error {
	text, err := os.ReadFile("examples/shop/shop.yaml")
	if err != nil {
		return err
	}
	apply := h.Command("kubectl", "apply", "-f", "-")
	apply.Stdin = strings.NewReader(strings.ReplaceAll(string(text), "/var/lib/proa-examples/shop", h.Dir+"/shop"))
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, out)
	}
	for _, d := range []string{"store", "web"} {
		if out, err := h.Command("kubectl", "-n", "shop", "rollout", "status", "deployment/"+d, "--timeout=60s").CombinedOutput(); err != nil {
			return fmt.Errorf("wait for %s: %w: %s", d, err, out)
		}
	}
	pid, err := h.daemon()
	if err != nil {
		return err
	}
	keepers, standby, err := h.keepers()
	if err != nil {
		return err
	}
	total := func() (sum time.Duration, err error) {
		for _, p := range append([]int{pid, standby}, keepers...) {
			d, err := cpu(p)
			if err != nil {
				return 0, err
			}
			sum += d
		}
		return sum, nil
	}
	if err := rest(ctx, time.Minute); err != nil {
		return err
	}
	before, err := total()
	if err != nil {
		return err
	}
	if err := rest(ctx, time.Minute); err != nil {
		return err
	}
	after, err := total()
	if err != nil {
		return err
	}
	rss, private, err := resident(pid)
	if err != nil {
		return err
	}
	b.add("resident memory of the daemon, shop running", "100 MB", "45 MB", "%.1f MB (%.1f private)", mb(rss), mb(private))
	var sum, most int64
	for _, k := range keepers {
		r, _, err := resident(k)
		if err != nil {
			return err
		}
		sum, most = sum+r, max(most, r)
	}
	if len(keepers) != 3 {
		return fmt.Errorf("%d keepers run, want one for each of 3 pods", len(keepers))
	}
	rss, private, err = resident(standby)
	if err != nil {
		return err
	}
	b.add("resident memory of the standby of DNS", "-", "-", "%.1f MB (%.1f private)", mb(rss), mb(private))
	b.add("resident memory per pod (keeper)", "4 MB", "2 MB", "%.1f MB (most %.1f)", mb(sum/int64(len(keepers))), mb(most))
	b.add("CPU, idle, of one core, shop running (its probes every 1-10 s)", "1 %", "0.2 %", "%.2f %% (%s in a minute)", 100*float64(after-before)/float64(time.Minute), after-before)
	return nil
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
