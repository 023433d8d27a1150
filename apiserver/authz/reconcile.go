package authz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// writers is how many roles are written at a time: together they cost one or two syncs of the store's log.
const writers = 32

// Reconcile creates the roles and bindings of Bootstrap that are missing and adds to those there are what they lack. What somebody
// added stays; what has its autoupdate annotation set to "false" is left alone.
func Reconcile(ctx context.Context, c client.Client) error {
	have := map[string]object.Object{}
	want := Bootstrap()
	listed := map[client.Resource]bool{}
	for _, o := range want {
		r := object.ResourceFor(object.KindOf(o))
		if listed[r] {
			continue
		}
		listed[r] = true
		list, err := c.List(ctx, client.Target{Resource: r}, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list %s: %w", r.Resource, err)
		}
		for _, item := range list.Items {
			have[r.Resource+"/"+object.KeyOf(item).String()] = item
		}
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, writers)
	errs := make([]error, len(want))
	for i, o := range want {
		r := object.ResourceFor(object.KindOf(o))
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			t := client.Target{Resource: r, Key: object.KeyOf(o)}
			if err := bring(ctx, c, t, have[r.Resource+"/"+t.Key.String()], o); err != nil {
				errs[i] = fmt.Errorf("write default %s %s: %w", r.Resource, t.Key, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// bring makes one object what it has to be at least.
func bring(ctx context.Context, c client.Client, t client.Target, have, want object.Object) error {
	if have == nil {
		name := t.Name
		t.Name = ""
		_, err := c.Create(ctx, t, want, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		t.Name = name // another server was faster
		if have, err = c.Get(ctx, t); err != nil {
			return err
		}
	}
	next, changed := complete(have, want)
	if !changed {
		return nil
	}
	_, err := c.Update(ctx, t, next, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // somebody works on it; the next start looks again
	}
	return err
}

// complete is have with everything that want has besides; false if that is nothing.
func complete(have, want object.Object) (object.Object, bool) {
	if have.GetAnnotations()[rbac.AutoUpdateAnnotationKey] == "false" {
		return nil, false
	}
	next := have.DeepCopyObject().(object.Object)
	labels := maps.Clone(next.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	if len(labels) > 0 {
		next.SetLabels(labels)
	}
	switch n := next.(type) {
	case *rbac.ClusterRole:
		w := want.(*rbac.ClusterRole)
		if w.AggregationRule == nil {
			n.Rules = addRules(n.Rules, w.Rules)
		} else if n.AggregationRule == nil {
			n.AggregationRule, n.Rules = w.AggregationRule, w.Rules
		}
	case *rbac.Role:
		n.Rules = addRules(n.Rules, want.(*rbac.Role).Rules)
	case *rbac.ClusterRoleBinding:
		n.Subjects = addSubjects(n.Subjects, want.(*rbac.ClusterRoleBinding).Subjects)
	case *rbac.RoleBinding:
		n.Subjects = addSubjects(n.Subjects, want.(*rbac.RoleBinding).Subjects)
	}
	return next, !equality.Semantic.DeepEqual(have, next)
}

func addRules(have, want []rbac.PolicyRule) []rbac.PolicyRule {
	if _, missing := Covers(have, want); len(missing) > 0 {
		return append(have, missing...)
	}
	return have
}

func addSubjects(have, want []rbac.Subject) []rbac.Subject {
	for _, s := range want {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have
}
