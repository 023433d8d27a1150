package process

import (
	"context"
	"fmt"
	"io"
	"net/http"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/rest"
	"proa.dev/apiserver/usage"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/kinds/all"
	"proa.dev/kinds/metrics"
	"proa.dev/object"
)

// kinds are those that are served: the built-in ones, and what nodes and pods use, unless that is left to others.
func (s *server) kinds() []*kinds.Kind {
	if !s.config.Enabled("metrics") {
		return all.Kinds()
	}
	return append(all.Kinds(), metrics.Kinds()...)
}

// computed says who makes the objects of kinds that are not stored. It is asked only when requests are answered, and by then
// fillUsage has been called.
func (s *server) computed() map[schema.GroupVersionKind]rest.Computed {
	if !s.config.Enabled("metrics") {
		return nil
	}
	return map[schema.GroupVersionKind]rest.Computed{
		metrics.NodeMetrics.Kind().GVK(): func(ctx context.Context, namespace, name string) ([]object.Object, error) {
			return s.usage.Nodes(ctx, namespace, name)
		},
		metrics.PodMetrics.Kind().GVK(): func(ctx context.Context, namespace, name string) ([]object.Object, error) {
			return s.usage.Pods(ctx, namespace, name)
		},
	}
}

func (s *server) fillUsage() {
	s.usage = usage.New(usage.Deps{View: s.api.View(), Log: s.log, Ask: func(ctx context.Context, n *core.Node, path string) (io.ReadCloser, error) {
		base, transport, err := s.kubelet(n)
		if err != nil {
			return nil, err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			return nil, err
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
		}
		return resp.Body, nil
	}})
}

// usageRole lets everybody who may view see what is used, as it comes with the servers that others install for this.
func (s *server) usageRole(ctx context.Context, c client.Client) error {
	if !s.config.Enabled("metrics") {
		return nil
	}
	labels := map[string]string{}
	for _, role := range []string{"admin", "edit", "view"} {
		labels["rbac.authorization.k8s.io/aggregate-to-"+role] = "true"
	}
	_, err := client.Create(ctx, c, &rbac.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "system:aggregated-metrics-reader", Labels: labels},
		Rules:      []rbac.PolicyRule{{APIGroups: []string{"metrics.k8s.io"}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list", "watch"}}},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
