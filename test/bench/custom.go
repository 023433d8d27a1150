package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const definitions = 100

// customKinds measures what custom resource definitions take, and the start with them.
func (b *bench) customKinds(ctx context.Context, h *host) error {
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
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
	start := time.Now()
	for i := range definitions {
		if _, err := h.api.do(ctx, http.MethodPost, path, definition(i), ""); err != nil {
			return err
		}
	}
	last := fmt.Sprintf("/apis/g%d.example.com/v1/namespaces/default/things", definitions-1)
	if err := h.answers(ctx, last); err != nil {
		return fmt.Errorf("serve the last definition: %w", err)
	}
	served := time.Since(start)
	if err := rest(ctx, time.Minute); err != nil {
		return err
	}
	after, _, err := resident(pid)
	if err != nil {
		return err
	}
	b.add(fmt.Sprintf("%d CRDs: created until the last is served", definitions), "-", "-", "%s", ms(served))
	b.add(fmt.Sprintf("%d CRDs: resident memory", definitions), "-", "-", "%.0f MB more (%.0f -> %.0f MB)", mb(after-before), mb(before), mb(after))
	return b.restart(ctx, h, last)
}

// restart measures the start of a daemon whose store has something in it, until path is answered.
func (b *bench) restart(ctx context.Context, h *host, path string) error {
	if out, err := h.Command("proa", "down").CombinedOutput(); err != nil {
		return fmt.Errorf("proa down: %w: %s", err, out)
	}
	start := time.Now()
	stop, err := h.serve("again.log")
	if err != nil {
		return err
	}
	defer stop()
	if err := h.answers(ctx, path); err != nil {
		return fmt.Errorf("start with %d definitions: %w", definitions, err)
	}
	b.add(fmt.Sprintf("%d CRDs: exec until the last is served again", definitions), "-", "-", "%s", ms(time.Since(start)))
	return nil
}

func definition(i int) []byte {
	return fmt.Appendf(nil, `{"metadata":{"name":"things.g%[1]d.example.com"},"spec":{"group":"g%[1]d.example.com","scope":"Namespaced","names":{"plural":"things",`+
		`"singular":"thing","kind":"Thing","listKind":"ThingList"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},`+
		`"additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{`+
		`"spec":{"type":"object","required":["size"],"properties":{"size":{"type":"integer","minimum":1},"mode":{"type":"string","enum":["a","b"],"default":"a"},`+
		`"parts":{"type":"array","maxItems":20,"items":{"type":"object","properties":{"name":{"type":"string","maxLength":63},"weight":{"type":"integer"}},`+
		`"x-kubernetes-validations":[{"rule":"self.weight > 0","message":"weight must be positive"}]}}}},`+
		`"status":{"type":"object","properties":{"ready":{"type":"boolean"}}}}}}}]}}`, i)
}

// answers waits until path is served.
func (h *host) answers(ctx context.Context, path string) error {
	return poll(ctx, 30*time.Second, func() bool {
		_, err := h.api.do(ctx, http.MethodGet, path, nil, "")
		return err == nil
	})
}
