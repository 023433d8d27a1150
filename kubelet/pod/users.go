package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// canMap asks the runtime, for a pod that wants a user namespace, whether the handler makes them.
func (d *Deps) canMap(ctx context.Context, pod *core.Pod, handler string) error {
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return nil
	}
	r, err := d.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return fmt.Errorf("ask the runtime for user namespaces: %w", err)
	}
	return mapsUsers(r.GetRuntimeHandlers(), handler)
}

// mapsUsers says why a handler makes no user namespaces; nil: it makes them. An old runtime names no handlers.
func mapsUsers(handlers []*runtimeapi.RuntimeHandler, handler string) error {
	i := slices.IndexFunc(handlers, func(h *runtimeapi.RuntimeHandler) bool { return h.GetName() == handler })
	if i >= 0 && handlers[i].GetFeatures().GetUserNamespaces() {
		return nil
	}
	no := errors.New("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
	if handler != "" {
		no = fmt.Errorf("can't set `spec.hostUsers: false`, RuntimeClass handler %q does not support user namespaces", handler)
	}
	if len(handlers) > 0 && i < 0 {
		return fmt.Errorf("%w: the handler %q is not known", no, handler)
	}
	return no
}
