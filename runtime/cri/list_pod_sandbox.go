package cri

import (
	"context"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListPodSandbox implements CRI.
func (r *Runtime) ListPodSandbox(ctx context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	f := req.GetFilter()
	resp := &runtimeapi.ListPodSandboxResponse{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pods {
		if !strings.HasPrefix(p.id, f.GetId()) || !selects(f.GetLabelSelector(), p.config.Labels) ||
			f.GetState() != nil && f.State.State != p.state() {
			continue
		}
		resp.Items = append(resp.Items, &runtimeapi.PodSandbox{Id: p.id, Metadata: p.config.Metadata, State: p.state(),
			CreatedAt: p.rec.CreatedAt, Labels: p.config.Labels, Annotations: p.config.Annotations, RuntimeHandler: p.rec.Handler})
	}
	return resp, nil
}

// StreamPodSandboxes implements CRI: ListPodSandbox for answers larger than a message may be.
func (r *Runtime) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream runtimeapi.RuntimeService_StreamPodSandboxesServer) error {
	resp, err := r.ListPodSandbox(stream.Context(), &runtimeapi.ListPodSandboxRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return chunked(resp.Items, func(items []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: items})
	})
}

// chunked sends a list in pieces. An empty list is one empty piece.
func chunked[T any](items []T, send func([]T) error) error {
	const size = 256
	for len(items) > size {
		if err := send(items[:size]); err != nil {
			return err
		}
		items = items[size:]
	}
	return send(items)
}

// selects reports whether labels have all pairs of a selector.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}
