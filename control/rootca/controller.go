package rootca

import (
	"context"
	"errors"
	"maps"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

const (
	// Name of the ConfigMap that every namespace has.
	Name = "kube-root-ca.crt"
	// Key is the one key of its data.
	Key = "ca.crt"

	descriptionKey = "kubernetes.io/description"
	description    = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the " +
		"internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Controller is the one of all kube-root-ca.crt ConfigMaps.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run. It needs Deps.CAPEM.
func New(d control.Deps) (*Controller, error) {
	if len(d.CAPEM) == 0 {
		return nil, errors.New("rootca: no CA bundle given")
	}
	return &Controller{d}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "rootca", View: c.deps.View, Log: c.deps.Logger("rootca"), Do: c, Workers: 4,
		Sources: []control.Source{
			control.Self[core.Namespace](),
			control.On(func(cm, _ *core.ConfigMap, wake func(object.Key)) {
				if cm.Name == Name {
					wake(object.Key{Name: cm.Namespace})
				}
			}),
		},
	}
	return l.Run(ctx)
}

// Reconcile makes the ConfigMap of one namespace say what the bundle is.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	ns, ok := client.Lookup[core.Namespace](c.deps.View, key)
	if !ok {
		return control.Done, nil
	}
	have, _ := client.Lookup[core.ConfigMap](c.deps.View, object.Key{Namespace: ns.Name, Name: Name})
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, plan(ns, have, string(c.deps.CAPEM)))
}

func plan(ns *core.Namespace, have *core.ConfigMap, bundle string) []control.Change {
	if ns.DeletionTimestamp != nil || ns.Status.Phase == core.NamespaceTerminating {
		return nil
	}
	data := map[string]string{Key: bundle}
	if have == nil {
		return []control.Change{{Op: control.Create, Object: &core.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: Name, Annotations: map[string]string{descriptionKey: description}},
			Data:       data,
		}}}
	}
	if maps.Equal(have.Data, data) && have.Annotations[descriptionKey] != "" {
		return nil
	}
	n := object.Clone(have)
	n.Data = data
	if n.Annotations == nil {
		n.Annotations = map[string]string{}
	}
	n.Annotations[descriptionKey] = description
	return []control.Change{{Op: control.Update, Object: n}}
}
