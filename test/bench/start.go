package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// coldStarts measures exec to /readyz, to node Ready and to the first pod Running, with certificates made beforehand and an empty store.
func (b *bench) coldStarts(ctx context.Context) error {
	var ready, node, pod spread
	for range b.runs {
		r, n, p, err := b.coldStart(ctx)
		if err != nil {
			return err
		}
		ready, node, pod = append(ready, r), append(node, n), append(pod, p)
	}
	b.add("exec -> /readyz 200, cold data directory", "300 ms", "80 ms", "%s", ready.median())
	b.add("exec -> node Ready", "1 s", "200 ms", "%s", node.median())
	b.add("exec -> first pod Running", "1.5 s", "300 ms", "%s", pod.median())
	return nil
}

const firstPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"first"},"spec":{"containers":[{"name":"store","image":"docker.io/proa/shop-store:v1",` +
	`"env":[{"name":"STORE_PASSWORD","value":"x"},{"name":"STORE_DIR","value":"/tmp"}]}]}}`

func (b *bench) coldStart(ctx context.Context) (ready, node, pod time.Duration, err error) {
	h, err := newHost(b.bin, "")
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	// A first life makes certificates and brings the image; then the store is emptied.
	if err := h.up(ctx); err != nil {
		return 0, 0, 0, err
	}
	if out, err := h.Command("proa", "down").CombinedOutput(); err != nil {
		return 0, 0, 0, fmt.Errorf("proa down: %w: %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(h.Dir, "data", "etcd")); err != nil {
		return 0, 0, 0, err
	}
	start := time.Now()
	stop, err := h.serve("server.log")
	if err != nil {
		return 0, 0, 0, err
	}
	defer stop()
	probe := &http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: h.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	err = poll(ctx, 30*time.Second, func() bool {
		resp, err := probe.Get("https://127.0.0.1:6443/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("readyz: %w", err)
	}
	ready = time.Since(start)
	if h.api, err = connect(h.Machine); err != nil {
		return 0, 0, 0, err
	}
	created := make(chan error, 1)
	go func() {
		created <- poll(ctx, 30*time.Second, func() bool { // until the default service account is there
			_, err := h.api.do(ctx, http.MethodPost, "/api/v1/namespaces/default/pods", []byte(firstPod), "")
			return err == nil
		})
	}()
	if err := h.waitFor(ctx, "/api/v1/nodes?watch=1", nodeReady); err != nil {
		return 0, 0, 0, err
	}
	node = time.Since(start)
	if err := <-created; err != nil {
		return 0, 0, 0, fmt.Errorf("create the first pod: %w", err)
	}
	if err := h.waitFor(ctx, "/api/v1/namespaces/default/pods?watch=1", podRunning); err != nil {
		return 0, 0, 0, err
	}
	return ready, node, time.Since(start), nil
}
