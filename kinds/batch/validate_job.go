package batch

import (
	"fmt"
	"slices"

	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

var specPath, metaPath, statusPath = field.NewPath("spec"), field.NewPath("metadata"), field.NewPath("status")

// Limits of a Job.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	manyCompletions       = 100_000 // above it, the next limit holds for Jobs with a limit per index
	maxOfMany             = 10_000
	maxManagedBy          = 63
)

func validateJob(j *batch.Job) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		generatedSelector(e, j)
		selectedSpec(e, &j.Spec)
		if n := j.Spec.Completions; indexed(&j.Spec) && n != nil && *n > 0 {
			host := fmt.Sprintf("%s-%d", j.Name, *n-1)
			if len(utilvalidation.IsDNS1123Label(host)) > 0 {
				e.Invalid(metaPath.Child("name"), j.Name, "will not able to create pod with invalid DNS label: "+host)
			}
		}
	})
}

// selectedSpec checks a Job's spec, the selector included.
func selectedSpec(e *check.Errors, s *batch.JobSpec) {
	jobSpec(e, specPath, s)
	if s.Selector == nil {
		e.Required(specPath.Child("selector"), "")
	} else {
		e.Selector(specPath.Child("selector"), s.Selector)
	}
	if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !sel.Matches(labels.Set(s.Template.Labels)) {
		e.Invalid(specPath.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`")
	}
}

func indexed(s *batch.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batch.IndexedCompletion
}

// generatedSelector checks that a selector that the server was to make is the one that it has made.
func generatedSelector(e *check.Errors, j *batch.Job) {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return
	}
	want := map[string]string{
		"controller-uid": string(j.UID), "job-name": j.Name, batch.ControllerUidLabel: string(j.UID), batch.JobNameLabel: j.Name,
	}
	p := specPath.Child("template", "metadata", "labels")
	for _, k := range []string{"controller-uid", "job-name", batch.ControllerUidLabel, batch.JobNameLabel} {
		switch v, ok := j.Spec.Template.Labels[k]; {
		case !ok:
			e.Required(p.Key(k), fmt.Sprintf("must be '%s'", want[k]))
		case v != want[k]:
			e.Invalid(p.Key(k), j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", want[k]))
		}
	}
	if sel, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !sel.Matches(labels.Set(want)) {
		e.Invalid(specPath.Child("selector"), j.Spec.Selector, "`selector` not auto-generated")
	}
}

// jobSpec checks a Job's spec at p, also in a CronJob's template.
func jobSpec(e *check.Errors, p *field.Path, s *batch.JobSpec) {
	check.NonNegativePtr(e, p.Child("parallelism"), s.Parallelism)
	check.NonNegativePtr(e, p.Child("completions"), s.Completions)
	check.NonNegativePtr(e, p.Child("activeDeadlineSeconds"), s.ActiveDeadlineSeconds)
	check.NonNegativePtr(e, p.Child("backoffLimit"), s.BackoffLimit)
	check.NonNegativePtr(e, p.Child("ttlSecondsAfterFinished"), s.TTLSecondsAfterFinished)
	check.NonNegativePtr(e, p.Child("backoffLimitPerIndex"), s.BackoffLimitPerIndex)
	check.NonNegativePtr(e, p.Child("maxFailedIndexes"), s.MaxFailedIndexes)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		e.Required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified")
	}
	if m := s.ManagedBy; m != nil {
		e.Add(utilvalidation.IsDomainPrefixedPath(p.Child("managedBy"), *m)...)
		if len(*m) > maxManagedBy {
			e.Add(field.TooLong(p.Child("managedBy"), "", maxManagedBy))
		}
	}
	completions(e, p, s)
	failurePolicy(e, p.Child("podFailurePolicy"), s)
	successPolicy(e, p.Child("successPolicy"), s)
	if r := s.PodReplacementPolicy; r != nil {
		if s.PodFailurePolicy != nil {
			check.OneOf(e, p.Child("podReplacementPolicy"), *r, batch.Failed)
		} else {
			check.OneOf(e, p.Child("podReplacementPolicy"), *r, batch.Failed, batch.TerminatingOrFailed)
		}
	}
	core.ValidatePodTemplate(e, p.Child("template"), &s.Template)
	restartPolicy(e, p.Child("template", "spec", "restartPolicy"), s)
}

func restartPolicy(e *check.Errors, p *field.Path, s *batch.JobSpec) {
	switch v := s.Template.Spec.RestartPolicy; {
	case v == corev1.RestartPolicyAlways, v == "":
		e.Required(p, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))
	case !check.OneOf(e, p, v, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever):
	case s.PodFailurePolicy != nil && v != corev1.RestartPolicyNever:
		e.Invalid(p, v, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))
	}
}

func completions(e *check.Errors, p *field.Path, s *batch.JobSpec) {
	if m := s.CompletionMode; m != nil {
		check.OneOf(e, p.Child("completionMode"), *m, batch.NonIndexedCompletion, batch.IndexedCompletion)
	}
	if m := ptr.Deref(s.CompletionMode, batch.NonIndexedCompletion); m != batch.IndexedCompletion {
		if m != batch.NonIndexedCompletion {
			return
		}
		if n := s.BackoffLimitPerIndex; n != nil {
			e.Invalid(p.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode")
		}
		if n := s.MaxFailedIndexes; n != nil {
			e.Invalid(p.Child("maxFailedIndexes"), *n, "requires indexed completion mode")
		}
		return
	}
	parallel, failed := ptr.Deref(s.Parallelism, 0), ptr.Deref(s.MaxFailedIndexes, 0)
	if s.Completions == nil {
		e.Required(p.Child("completions"), "when completion mode is Indexed")
	}
	if parallel > maxIndexedParallelism {
		e.Invalid(p.Child("parallelism"), parallel,
			fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism))
	}
	if s.Completions != nil && s.MaxFailedIndexes != nil && failed > *s.Completions {
		e.Invalid(p.Child("maxFailedIndexes"), failed, "must be less than or equal to completions")
	}
	if failed > maxFailedIndexes {
		e.Invalid(p.Child("maxFailedIndexes"), failed, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes))
	}
	if ptr.Deref(s.Completions, 0) <= manyCompletions || s.BackoffLimitPerIndex == nil {
		return
	}
	if s.MaxFailedIndexes == nil {
		e.Required(p.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions))
	}
	limit := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", maxOfMany, manyCompletions)
	if parallel > maxOfMany {
		e.Invalid(p.Child("parallelism"), parallel, limit)
	}
	if failed > maxOfMany {
		e.Invalid(p.Child("maxFailedIndexes"), failed, limit)
	}
}

func validateJobUpdate(j, old *batch.Job) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		now, was := &j.Spec, &old.Spec
		selectedSpec(e, now) // Kubernetes looks twice: the causes come twice
		if !indexed(now) {
			e.Immutable(specPath.Child("completions"), now.Completions, was.Completions)
		} else if now.Completions != nil && !equality.Semantic.DeepEqual(now.Completions, was.Completions) &&
			*now.Completions != ptr.Deref(now.Parallelism, 0) {
			e.Invalid(specPath.Child("completions"), now.Completions, "can only be modified in tandem with spec.parallelism")
		}
		e.Immutable(specPath.Child("selector"), now.Selector, was.Selector)
		templateChange(e, old, now, was)
		e.Immutable(specPath.Child("completionMode"), now.CompletionMode, was.CompletionMode)
		e.Immutable(specPath.Child("podFailurePolicy"), now.PodFailurePolicy, was.PodFailurePolicy)
		e.Immutable(specPath.Child("backoffLimitPerIndex"), now.BackoffLimitPerIndex, was.BackoffLimitPerIndex)
		e.Immutable(specPath.Child("managedBy"), now.ManagedBy, was.ManagedBy)
		e.Immutable(specPath.Child("successPolicy"), now.SuccessPolicy, was.SuccessPolicy)
	})
}

// templateChange lets a suspended Job without pods change where its pods go and what they request (KEP-2926, KEP-5440).
func templateChange(e *check.Errors, old *batch.Job, now, was *batch.JobSpec) {
	idle := ptr.Deref(was.Suspend, false) && old.Status.Active == 0 && (old.Status.StartTime == nil || hasCondition(old, batch.JobSuspended))
	if !idle {
		e.Immutable(specPath.Child("template"), now.Template, was.Template)
		return
	}
	t, o := &now.Template, was.Template.DeepCopy()
	o.Labels, o.Annotations = t.Labels, t.Annotations
	o.Spec.NodeSelector, o.Spec.Tolerations, o.Spec.SchedulingGates = t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates
	switch a := t.Spec.Affinity; {
	case a != nil:
		if o.Spec.Affinity == nil {
			o.Spec.Affinity = &corev1.Affinity{}
		}
		o.Spec.Affinity.NodeAffinity = a.NodeAffinity
	case o.Spec.Affinity != nil:
		if o.Spec.Affinity.NodeAffinity = nil; *o.Spec.Affinity == (corev1.Affinity{}) {
			o.Spec.Affinity = nil
		}
	}
	sameResources(o.Spec.Containers, t.Spec.Containers)
	sameResources(o.Spec.InitContainers, t.Spec.InitContainers)
	e.Immutable(specPath.Child("template.spec"), t.Spec, o.Spec)
}

func sameResources(old, now []corev1.Container) {
	for i := range min(len(old), len(now)) {
		if len(old) == len(now) && old[i].Name == now[i].Name {
			old[i].Resources = now[i].Resources
		}
	}
}

func hasCondition(j *batch.Job, t batch.JobConditionType) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batch.JobCondition) bool {
		return c.Type == t && c.Status == corev1.ConditionTrue
	})
}
