package trustbundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Signer is whose bundle it is.
const Signer = "kubernetes.io/kube-apiserver-serving"

// Controller keeps the bundle.
type Controller struct{ deps control.Deps }

// New makes the controller; see Run. It needs Deps.CAPEM.
func New(d control.Deps) (*Controller, error) {
	if len(d.CAPEM) == 0 {
		return nil, errors.New("trustbundle: no CA bundle given")
	}
	return &Controller{d}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "trustbundle", View: c.deps.View, Log: c.deps.Logger("trustbundle"), Do: c, Workers: 1,
		Sources: []control.Source{
			control.On(func(n, _ *core.Namespace, wake func(object.Key)) { // which is there from the start
				if n.Name == metav1.NamespaceSystem {
					wake(object.Key{})
				}
			}),
			control.On(func(b, _ *certificates.ClusterTrustBundle, wake func(object.Key)) {
				if b.Spec.SignerName == Signer {
					wake(object.Key{})
				}
			}),
		},
	}
	return l.Run(ctx)
}

// Reconcile makes the signer's bundles what they should be, whatever the key.
func (c *Controller) Reconcile(ctx context.Context, _ object.Key) (control.Again, error) {
	all := client.ListOf[certificates.ClusterTrustBundle](c.deps.View, client.Select{})
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, plan(all, string(c.deps.CAPEM)))
}

// plan makes the bundle before it takes others away, so that there always is one.
func plan(all []*certificates.ClusterTrustBundle, anchors string) (changes []control.Change) {
	name := nameOf(anchors)
	missing := true
	var gone []control.Change
	for _, b := range all {
		switch {
		case b.Name == name:
			missing = false
			if b.Spec.TrustBundle != anchors {
				n := object.Clone(b)
				n.Spec.TrustBundle = anchors
				changes = append(changes, control.Change{Op: control.Update, Object: n})
			}
		case b.Spec.SignerName == Signer && b.DeletionTimestamp == nil:
			gone = append(gone, control.Change{Op: control.Delete, Object: b})
		}
	}
	if missing {
		changes = append(changes, control.Change{Op: control.Create, Object: &certificates.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificates.ClusterTrustBundleSpec{SignerName: Signer, TrustBundle: anchors},
		}})
	}
	return append(changes, gone...)
}

func nameOf(anchors string) string {
	sum := sha256.Sum256([]byte(anchors))
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(Signer, "/", ":"), sum[:12])
}
