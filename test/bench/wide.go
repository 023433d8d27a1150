package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// wide measures what clients do beside plain reads and writes: deletes, applies, lists in all forms.
func (b *bench) wide(ctx context.Context, h *host) error {
	if _, err := h.api.do(ctx, http.MethodPost, "/api/v1/namespaces", []byte(`{"metadata":{"name":"wide"}}`), ""); err != nil {
		return err
	}
	const path = "/api/v1/namespaces/wide/configmaps"
	value := strings.Repeat("x", 1024)
	name := func(i int) string { return fmt.Sprintf("w-%d", i) }
	apply := func(i int) error {
		body := fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"v":"%s"}}`, name(i), value)
		return h.api.apply(ctx, path+"/"+name(i)+"?fieldManager=bench&force=true", body)
	}
	if err := b.rounds(ctx, h, 16, "apply (server side) that creates, 16 workers", [2]string{"-", "-"}, apply); err != nil {
		return err
	}
	if err := b.rounds(ctx, h, 16, "apply (server side) of the same, 16 workers", [2]string{"-", "-"}, apply); err != nil {
		return err
	}
	for _, limit := range []int{1000, objects} {
		for _, form := range []struct{ name, accept string }{
			{"JSON", "application/json"}, {"protobuf", "application/vnd.kubernetes.protobuf"},
			{"Table", "application/json;as=Table;v=v1;g=meta.k8s.io"}, {"metadata", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"},
		} {
			if err := b.listAs(ctx, h, fmt.Sprintf("%s?limit=%d", path, limit), fmt.Sprintf("list %d ConfigMaps, %s, p50", limit, form.name), form.accept); err != nil {
				return err
			}
		}
	}
	return b.rounds(ctx, h, 64, "delete, 64 workers", [2]string{"-", "-"}, func(i int) error {
		_, err := h.api.do(ctx, http.MethodDelete, path+"/"+name(i), nil, "")
		return err
	})
}

// listAs measures one form of a list.
func (b *bench) listAs(ctx context.Context, h *host, path, what, accept string) error {
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
	size := 0
	for range times {
		start := time.Now()
		data, err := h.api.do(ctx, http.MethodGet, path, nil, accept)
		if err != nil {
			return err
		}
		took, size = append(took, time.Since(start)), len(data)
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	b.add(what, "-", "-", "%s; %.1f ms CPU; %.1f MB", ms(took.at(0.5)), float64((after-before)/times)/1e6, mb(int64(size)))
	return nil
}
