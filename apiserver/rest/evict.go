package rest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
)

// evict deletes a pod if the disruption budgets that cover it allow that: 429 if not, or not yet.
func (a *API) evict(ctx context.Context, s *Served, t client.Target, e *policy.Eviction, opt metav1.CreateOptions) (Answer, error) {
	if e.Name != "" && e.Name != t.Name {
		return Answer{}, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	e, err := admitSub(ctx, a, s, t, e, opt)
	if err != nil {
		return Answer{}, err
	}
	it, err := a.current(ctx, s, t.Key)
	if err != nil {
		return Answer{}, err
	}
	pod := it.Object.(*core.Pod)
	how := metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		how = *e.DeleteOptions
	}
	if len(how.DryRun) == 0 {
		how.DryRun = opt.DryRun
	}
	if !needsNoBudget(pod) {
		if err := a.spendBudget(ctx, pod, dry(how.DryRun)); err != nil {
			return Answer{}, err
		}
	}
	if !dry(how.DryRun) && wanted(pod, how.Preconditions) {
		if err := a.markEvicted(ctx, s, client.Target{Resource: t.Resource, Key: t.Key, Sub: "status"}); err != nil {
			return Answer{}, err
		}
		if p := how.Preconditions; p != nil { // the mark has changed the revision that the client knew
			how.Preconditions = &metav1.Preconditions{UID: p.UID}
		}
	}
	if _, err := a.delete(ctx, s, client.Target{Resource: t.Resource, Key: t.Key}, how, admitted); err != nil {
		return Answer{}, err
	}
	return Answer{Other: created(), Created: true}, nil
}

// wanted says whether the pod is the one that the client means. If not, Delete refuses it.
func wanted(pod *core.Pod, p *metav1.Preconditions) bool {
	return p == nil || (p.UID == nil || *p.UID == pod.UID) && (p.ResourceVersion == nil || *p.ResourceVersion == pod.ResourceVersion)
}

// markEvicted says in the pod's status why it goes, for those who judge how it ended.
func (a *API) markEvicted(ctx context.Context, s *Served, t client.Target) error {
	_, err := a.do(ctx, s, change{target: t, status: true, raw: true, admitted: true, next: func(_ context.Context, old *cache.Item) (object.Object, error) {
		p := object.Clone(old.Object.(*core.Pod))
		p.ResourceVersion = ""
		is := func(c core.PodCondition) bool { return c.Type == core.DisruptionTarget }
		if i := slices.IndexFunc(p.Status.Conditions, is); i >= 0 && p.Status.Conditions[i].Status == core.ConditionTrue {
			return p, nil
		}
		p.Status.Conditions = append(slices.DeleteFunc(p.Status.Conditions, is), core.PodCondition{
			Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			ObservedGeneration: p.Generation, LastTransitionTime: metav1.Time{Time: a.now().Truncate(time.Second)},
		})
		return p, nil
	}})
	return err
}

// needsNoBudget says whether the pod counts for no budget: it does not run, or goes anyway.
func needsNoBudget(p *core.Pod) bool {
	return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed || p.Status.Phase == core.PodPending || p.DeletionTimestamp != nil
}

// spendBudget takes one disruption from the budget of a pod.
func (a *API) spendBudget(ctx context.Context, pod *core.Pod, dryRun bool) error {
	pdb := a.Find(object.ResourceOf[policy.PodDisruptionBudget]())
	if pdb == nil || pdb.Shelf == nil {
		return nil
	}
	var covering []*policy.PodDisruptionBudget
	for _, it := range pdb.Shelf.Select(client.Select{Namespace: pod.Namespace}) {
		b := it.Object.(*policy.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			covering = append(covering, b)
		}
	}
	switch len(covering) {
	case 0:
		return nil
	case 1:
	default:
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}
	}
	key := object.KeyOf(covering[0])
	t := client.Target{Resource: pdb.GroupVersionResource, Key: key, Sub: "status"}
	_, err := a.do(ctx, pdb, change{target: t, status: true, raw: true, admitted: true, next: func(_ context.Context, old *cache.Item) (object.Object, error) {
		b := old.Object.(*policy.PodDisruptionBudget)
		if b.Status.ObservedGeneration < b.Generation {
			return nil, tooManyEvictions(b, "The disruption budget "+b.Name+" is still being processed by the server.", 10)
		}
		if b.Status.DisruptionsAllowed <= 0 {
			return nil, tooManyEvictions(b, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
				b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy), 0)
		}
		n := object.Clone(b)
		n.ResourceVersion = ""
		if dryRun {
			return n, nil
		}
		n.Status.DisruptionsAllowed--
		if n.Status.DisruptedPods == nil {
			n.Status.DisruptedPods = map[string]metav1.Time{}
		}
		n.Status.DisruptedPods[pod.Name] = metav1.Time{Time: a.now()}
		return n, nil
	}})
	return err
}

func tooManyEvictions(b *policy.PodDisruptionBudget, message string, after int) error {
	e := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", after)
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Type: policy.DisruptionBudgetCause, Message: message})
	return e
}
