package admission

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// The namespaces that every cluster has. The first three cannot be deleted.
const (
	defaultNamespace   = "default"
	systemNamespace    = "kube-system"
	publicNamespace    = "kube-public"
	nodeLeaseNamespace = "kube-node-lease"
)

// namespaceLifecycle refuses to create anything in a namespace that does not exist or is going, and to delete those that the
// cluster needs.
func (s *Start) namespaceLifecycle(_ context.Context, r *Request) error {
	switch {
	case r.Op == Delete && r.Is("", "namespaces"):
		switch r.Key.Name {
		case defaultNamespace, systemNamespace, publicNamespace:
			return r.Forbid("this namespace may not be deleted")
		}
		return nil
	case r.Op != Create || r.Key.Namespace == "":
		return nil
	case r.Sub != "" || r.Kind.Virtual:
		return nil
	}
	ns, ok := client.Lookup[core.Namespace](s.view, object.Key{Name: r.Key.Namespace})
	if !ok {
		return apierrors.NewNotFound(object.ResourceOf[core.Namespace]().GroupResource(), r.Key.Namespace)
	}
	if ns.Status.Phase != core.NamespaceTerminating && ns.DeletionTimestamp == nil {
		return nil
	}
	err := r.Forbid("unable to create new content in namespace %s because it is being terminated", r.Key.Namespace)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: core.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", r.Key.Namespace), Field: "metadata.namespace"})
	return err
}

// namespaces makes the namespaces of the system.
func namespaces(ctx context.Context, c client.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{defaultNamespace, systemNamespace, publicNamespace, nodeLeaseNamespace} {
		g.Go(func() error { return ensure(ctx, c, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}) })
	}
	return g.Wait()
}

// ensure creates o unless there is one of its name.
func ensure[T any, P object.Ptr[T]](ctx context.Context, c client.Client, o P) error {
	key := object.KeyOf(o)
	_, err := client.Get[T, P](ctx, c, key)
	if !apierrors.IsNotFound(err) {
		return err
	}
	if _, err = client.Create[T, P](ctx, c, o); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create %T %s: %w", o, key, err)
	}
	return nil
}
