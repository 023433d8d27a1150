package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
)

// evictTries bounds how often an eviction is tried anew because its pod has changed.
const evictTries = 20

// evict deletes a pod if the disruption budgets that cover it allow that: 429 if not, or not yet.
func (a *API) evict(ctx context.Context, s *Served, t client.Target, e *policy.Eviction, r *admission.Request) (Answer, error) {
	if e.Name != t.Name {
		return Answer{}, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if err := a.checkBody(ctx, r, e); err != nil {
		return Answer{}, err
	}
	how, err := evictOptions(e, dryRun(r))
	if err != nil {
		return Answer{}, err
	}
	pod := client.Target{Resource: t.Resource, Key: t.Key}
	for try := 1; ; try++ {
		it, err := a.current(ctx, s, t.Key)
		if err != nil {
			return Answer{}, err
		}
		p, at := it.Object.(*core.Pod), how
		budget, guarded := "", false
		switch {
		case needsNoBudget(p): // while it is pending, it may become ready and count
			guarded = p.Status.Phase == core.PodPending && p.DeletionTimestamp == nil
		default:
			if budget, guarded, err = a.spendBudget(ctx, p, dry(how.DryRun)); err != nil {
				return Answer{}, err
			}
		}
		if guarded && anyVersion(how) {
			at.Preconditions = &metav1.Preconditions{ResourceVersion: &p.ResourceVersion}
			if how.Preconditions != nil {
				at.Preconditions.UID = how.Preconditions.UID
			}
		}
		err = a.deleteEvicted(ctx, s, pod, at)
		switch {
		case err == nil:
			return Answer{Other: created(), Created: true}, nil
		case !apierrors.IsConflict(err) || !anyVersion(how):
			return Answer{}, err
		case budget != "" && guarded:
			return Answer{}, tooManyEvictions(budgetBusy(budget), 10)
		case budget != "" || try == evictTries:
			return Answer{}, err
		}
		if err := a.cache.Fresh(ctx); err != nil {
			return Answer{}, failure(err)
		}
	}
}

// evictOptions is how the pod is to be deleted: as the eviction says, and dry if the request is.
func evictOptions(e *policy.Eviction, dryRun []string) (metav1.DeleteOptions, error) {
	if e.DeleteOptions == nil {
		return metav1.DeleteOptions{DryRun: dryRun}, nil
	}
	how := *e.DeleteOptions
	if b := how.IgnoreStoreReadErrorWithClusterBreakingPotential; b != nil && *b {
		return how, apierrors.NewInvalid(policy.SchemeGroupVersion.WithKind("Eviction").GroupKind(), e.Name, field.ErrorList{field.Invalid(
			field.NewPath("deleteOptions", "ignoreStoreReadErrorWithClusterBreakingPotential"), true, "can not be set for pod eviction, try after removing the option")})
	}
	switch {
	case len(dryRun) == 0:
	case len(how.DryRun) == 0:
		how.DryRun = dryRun
	case !slices.Equal(dryRun, how.DryRun):
		//lint:ignore ST1005 Kubernetes' own words
		return how, bare(fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", dryRun, how.DryRun))
	}
	return how, nil
}

// anyVersion says whether the client named no revision of the pod.
func anyVersion(how metav1.DeleteOptions) bool {
	return how.Preconditions == nil || how.Preconditions.ResourceVersion == nil
}

// deleteEvicted says in the pod's status why it goes, and deletes it.
func (a *API) deleteEvicted(ctx context.Context, s *Served, t client.Target, how metav1.DeleteOptions) error {
	if it, err := a.current(ctx, s, t.Key); dry(how.DryRun) && err == nil {
		if err := wanted(it.Object.(*core.Pod), how.Preconditions); err != nil {
			return err
		}
	}
	if !dry(how.DryRun) {
		status := t
		status.Sub = "status"
		rev, err := a.markEvicted(ctx, s, status, how.Preconditions)
		if err != nil {
			return err
		}
		if !anyVersion(how) { // the mark has changed the revision that was asked for
			how.Preconditions = &metav1.Preconditions{UID: how.Preconditions.UID, ResourceVersion: &rev}
		}
	}
	_, err := a.delete(ctx, s, t, how, admitted)
	return err
}

// markEvicted says in the pod's status why it goes, for those who judge how it ended. It returns the pod's revision after that.
func (a *API) markEvicted(ctx context.Context, s *Served, t client.Target, pre *metav1.Preconditions) (string, error) {
	answer, err := a.do(ctx, s, change{target: t, status: true, raw: true, admitted: true, tracked: true, next: func(_ context.Context, old *cache.Item) (object.Object, error) {
		p := object.Clone(old.Object.(*core.Pod))
		if err := wanted(p, pre); err != nil {
			return nil, err
		}
		p.ResourceVersion = ""
		is := func(c core.PodCondition) bool { return c.Type == core.DisruptionTarget }
		next := core.PodCondition{
			Type: core.DisruptionTarget, Status: core.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			LastTransitionTime: metav1.Time{Time: a.now().Truncate(time.Second)},
		}
		if i := slices.IndexFunc(p.Status.Conditions, is); i >= 0 {
			if had := p.Status.Conditions[i]; had.Status == next.Status {
				next.LastTransitionTime = had.LastTransitionTime
			}
			next.LastProbeTime, next.ObservedGeneration = p.Status.Conditions[i].LastProbeTime, p.Status.Conditions[i].ObservedGeneration
			p.Status.Conditions[i] = next
			return p, nil
		}
		p.Status.Conditions = append(p.Status.Conditions, next)
		return p, nil
	}})
	if err != nil {
		return "", err
	}
	return answer.Item.Object.GetResourceVersion(), nil
}

// wanted refuses a pod that is not the one that the client means.
func wanted(p *core.Pod, pre *metav1.Preconditions) error {
	kind := schema.GroupResource{Resource: "Pod"}
	switch {
	case pre == nil:
	case pre.UID != nil && *pre.UID != "" && *pre.UID != p.UID:
		return apierrors.NewConflict(kind, p.Name, fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *pre.UID, p.UID))
	case pre.ResourceVersion != nil && *pre.ResourceVersion != "" && *pre.ResourceVersion != p.ResourceVersion:
		return apierrors.NewConflict(kind, p.Name, fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *pre.ResourceVersion, p.ResourceVersion))
	}
	return nil
}

// needsNoBudget says whether the pod counts for no budget: it does not run, or goes anyway.
func needsNoBudget(p *core.Pod) bool {
	return p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed || p.Status.Phase == core.PodPending || p.DeletionTimestamp != nil
}

// covering is the budgets that cover a pod.
func (a *API) covering(pdb *Served, pod *core.Pod) (out []*policy.PodDisruptionBudget) {
	for _, it := range pdb.Shelf.Select(client.Select{Namespace: pod.Namespace}) {
		b := it.Object.(*policy.PodDisruptionBudget)
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			out = append(out, b)
		}
	}
	return out
}

// ready says whether a pod is healthy in the eyes of a budget.
func ready(p *core.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c core.PodCondition) bool {
		return c.Type == core.PodReady && c.Status == core.ConditionTrue
	})
}

// spendBudget takes one disruption from the budget of a pod, and names the budget. A pod that is not ready may need none (KEP-3017): then
// it is to be deleted only as it is now (guarded).
func (a *API) spendBudget(ctx context.Context, pod *core.Pod, dryRun bool) (name string, guarded bool, err error) {
	pdb := a.Find(object.ResourceOf[policy.PodDisruptionBudget]())
	if pdb == nil || pdb.Shelf == nil {
		return "", false, nil
	}
	budgets := a.covering(pdb, pod)
	switch len(budgets) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}
	}
	b := budgets[0]
	if always := b.Spec.UnhealthyPodEvictionPolicy; !ready(pod) {
		if always != nil && *always == policy.AlwaysAllow || b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0 {
			return b.Name, true, nil
		}
	}
	t := client.Target{Resource: pdb.GroupVersionResource, Key: object.KeyOf(b), Sub: "status"}
	self := metav1.UpdateOptions{FieldManager: "kube-apiserver"}
	_, err = a.do(ctx, pdb, change{target: t, options: self, status: true, raw: true, admitted: true, next: func(_ context.Context, old *cache.Item) (object.Object, error) {
		n := object.Clone(old.Object.(*policy.PodDisruptionBudget))
		n.ResourceVersion = ""
		if err := disruptable(n); err != nil || dryRun {
			return n, err
		}
		if n.Status.DisruptionsAllowed--; n.Status.DisruptionsAllowed == 0 {
			meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{Type: policy.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
				Reason: policy.InsufficientPodsReason, ObservedGeneration: n.Status.ObservedGeneration})
		}
		if n.Status.DisruptedPods == nil {
			n.Status.DisruptedPods = map[string]metav1.Time{}
		}
		n.Status.DisruptedPods[pod.Name] = metav1.Time{Time: a.now()}
		return n, nil
	}})
	return b.Name, false, err
}

// mostDisrupted bounds the evictions that were allowed and that the controller of budgets has not seen yet.
const mostDisrupted = 2000

// disruptable says whether a budget allows one more disruption.
func disruptable(b *policy.PodDisruptionBudget) error {
	st := &b.Status
	failed := meta.FindStatusCondition(st.Conditions, policy.DisruptionAllowedCondition)
	if failed != nil && (failed.Status != metav1.ConditionFalse || failed.Message == "") {
		failed = nil
	}
	kind := schema.GroupResource{Group: policy.GroupName, Resource: "poddisruptionbudget"}
	switch {
	case st.ObservedGeneration < b.Generation:
		return tooManyEvictions(budgetBusy(b.Name), 10)
	case st.DisruptionsAllowed < 0:
		return apierrors.NewForbidden(kind, b.Name, errors.New("pdb disruptions allowed is negative"))
	case len(st.DisruptedPods) > mostDisrupted:
		return apierrors.NewForbidden(kind, b.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case st.DisruptionsAllowed > 0:
		return nil
	case failed != nil && failed.Reason == policy.SyncFailedReason: // what the status counts is not to be trusted then
		return tooManyEvictions(fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, failed.Message), 0)
	case st.CurrentHealthy <= st.DesiredHealthy:
		return tooManyEvictions(fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, st.DesiredHealthy, st.CurrentHealthy), 0)
	case failed != nil:
		return tooManyEvictions(fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, failed.Reason, failed.Message), 0)
	}
	return tooManyEvictions(fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name), 0)
}

func budgetBusy(name string) string {
	return "The disruption budget " + name + " is still being processed by the server."
}

func tooManyEvictions(message string, after int) error {
	e := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", after)
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Type: policy.DisruptionBudgetCause, Message: message})
	return e
}
