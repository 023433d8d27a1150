package authz

import (
	"context"
	"log/slog"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/client"
	"proa.dev/object"
)

// Aggregator writes the rules of cluster roles that are the union of others, as those come and go.
type Aggregator struct {
	Client client.Client
	View   client.View
	Log    *slog.Logger
}

// Run follows the cluster roles until ctx ends. A write that fails is made up for at the next change of any cluster role.
func (g Aggregator) Run(ctx context.Context) error {
	synced := false
	return client.Watch(ctx, g.View, func(t client.EventType, _, _ *rbac.ClusterRole) {
		synced = synced || t == client.Synced
		if !synced {
			return
		}
		all := client.ListOf[rbac.ClusterRole](g.View, client.Select{})
		for _, r := range all {
			if r.AggregationRule == nil {
				continue
			}
			rules := aggregated(r, all)
			if equality.Semantic.DeepEqual(rules, r.Rules) {
				continue
			}
			next := object.Clone(r)
			next.Rules = rules
			if _, err := client.Update(ctx, g.Client, next); err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
				g.Log.Warn("aggregate rules", "kind", "ClusterRole", "name", r.Name, "err", err)
			}
		}
	})
}
