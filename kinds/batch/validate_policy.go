package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batch "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

// Limits of the policies of a Job.
const (
	maxFailureRules      = 20
	maxFailureExitCodes  = 255
	maxFailureConditions = 20
	maxSuccessRules      = 20
	maxSuccessIndexes    = 64 << 10
)

func failurePolicy(e *check.Errors, p *field.Path, s *batch.JobSpec) {
	if s.PodFailurePolicy == nil {
		return
	}
	p = p.Child("rules")
	rules := s.PodFailurePolicy.Rules
	if len(rules) > maxFailureRules {
		e.Add(field.TooMany(p, len(rules), maxFailureRules))
	}
	for i := range rules {
		failureRule(e, p.Index(i), s, &rules[i])
	}
}

func failureRule(e *check.Errors, p *field.Path, s *batch.JobSpec, r *batch.PodFailurePolicyRule) {
	actions := []batch.PodFailurePolicyAction{batch.PodFailurePolicyActionCount, batch.PodFailurePolicyActionFailIndex,
		batch.PodFailurePolicyActionFailJob, batch.PodFailurePolicyActionIgnore}
	switch {
	case r.Action == "":
		e.Required(p.Child("action"), fmt.Sprintf("valid values: %q", actions))
	case r.Action == batch.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil:
		e.Invalid(p.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
	default:
		check.OneOf(e, p.Child("action"), r.Action, actions...)
	}
	if r.OnExitCodes != nil {
		exitCodes(e, p.Child("onExitCodes"), s, r.OnExitCodes)
	}
	if n := len(r.OnPodConditions); n > maxFailureConditions {
		e.Add(field.TooMany(p.Child("onPodConditions"), n, maxFailureConditions))
	}
	for i, c := range r.OnPodConditions {
		at := p.Child("onPodConditions").Index(i)
		e.QualifiedName(at.Child("type"), string(c.Type))
		values := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if c.Status == "" {
			e.Required(at.Child("status"), fmt.Sprintf("valid values: %q", values))
		} else {
			check.OneOf(e, at.Child("status"), c.Status, values...)
		}
	}
	switch {
	case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
		e.Invalid(p, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
	case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
		e.Invalid(p, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
	}
}

func exitCodes(e *check.Errors, p *field.Path, s *batch.JobSpec, r *batch.PodFailurePolicyOnExitCodesRequirement) {
	ops := []batch.PodFailurePolicyOnExitCodesOperator{batch.PodFailurePolicyOnExitCodesOpIn, batch.PodFailurePolicyOnExitCodesOpNotIn}
	if r.Operator == "" {
		e.Required(p.Child("operator"), fmt.Sprintf("valid values: %q", ops))
	} else {
		check.OneOf(e, p.Child("operator"), r.Operator, ops...)
	}
	if n := r.ContainerName; n != nil {
		is := func(c corev1.Container) bool { return c.Name == *n }
		if !slices.ContainsFunc(s.Template.Spec.Containers, is) && !slices.ContainsFunc(s.Template.Spec.InitContainers, is) {
			e.Invalid(p.Child("containerName"), *n, "must be one of the container or initContainer names in the pod template")
		}
	}
	p = p.Child("values")
	switch n := len(r.Values); {
	case n == 0:
		e.Invalid(p, r.Values, "at least one value is required")
	case n > maxFailureExitCodes:
		e.Add(field.TooMany(p, n, maxFailureExitCodes))
	}
	for i, v := range r.Values {
		if v == 0 && r.Operator == batch.PodFailurePolicyOnExitCodesOpIn {
			e.Invalid(p.Index(i), v, "must not be 0 for the In operator")
		}
		if slices.Contains(r.Values[:i], v) {
			e.Duplicate(p.Index(i), v)
		}
	}
	if !slices.IsSorted(r.Values) {
		e.Invalid(p, r.Values, "must be ordered")
	}
}

func successPolicy(e *check.Errors, p *field.Path, s *batch.JobSpec) {
	if s.SuccessPolicy == nil {
		return
	}
	if !indexed(s) {
		e.Invalid(p, *s.SuccessPolicy, "requires indexed completion mode")
		return
	}
	p = p.Child("rules")
	rules := s.SuccessPolicy.Rules
	if len(rules) == 0 {
		e.Required(p, "at least one rules must be specified when the successPolicy is specified")
	}
	if len(rules) > maxSuccessRules {
		e.Add(field.TooMany(p, len(rules), maxSuccessRules))
	}
	for i := range rules {
		successRule(e, p.Index(i), &rules[i], ptr.Deref(s.Completions, 0))
	}
}

func successRule(e *check.Errors, p *field.Path, r *batch.SuccessPolicyRule, completions int32) {
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		e.Required(p, "at least one of succeededCount or succeededIndexes must be specified")
	}
	var total int32
	if x := r.SucceededIndexes; x != nil {
		at := p.Child("succeededIndexes")
		if len(*x) > maxSuccessIndexes {
			e.Add(field.TooLong(at, "", maxSuccessIndexes))
		}
		var err error
		if total, err = countIndexes(*x, completions); err != nil {
			e.Invalid(at, *x, fmt.Sprintf("error parsing succeededIndexes: %s", err))
		}
	}
	if n := r.SucceededCount; n != nil {
		at := p.Child("succeededCount")
		e.NonNegative(at, int64(*n))
		if *n > completions {
			e.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
		}
		if r.SucceededIndexes != nil && *n > total {
			e.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))
		}
	}
}

// countIndexes is the number of indexes in "1,3-5,7", which must grow and be below completions.
func countIndexes(s string, completions int32) (total int32, err error) {
	last := int32(-1)
	if s == "" {
		return 0, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, err := interval(part, completions)
		if err != nil {
			return 0, err
		}
		if last >= from {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, from)
		}
		total += to - from + 1
		last = to
	}
	return total, nil
}

// overlapOf is the first index that both lists have. What cannot be read is passed over.
func overlapOf(a, b string, completions int32) (int32, bool) {
	left, right := intervals(a, completions), intervals(b, completions)
	for len(left) > 0 && len(right) > 0 {
		x, y := left[0], right[0]
		if x[0] <= y[1] && y[0] <= x[1] {
			return max(x[0], y[0]), true
		}
		if x[0] <= y[0] {
			left = left[1:]
		} else {
			right = right[1:]
		}
	}
	return 0, false
}

func intervals(s string, completions int32) (out [][2]int32) {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		if from, to, err := interval(part, completions); err == nil {
			out = append(out, [2]int32{from, to})
		}
	}
	return out
}

// interval reads "3" and "3-5".
func interval(s string, completions int32) (from, to int32, err error) {
	ends := strings.Split(s, "-")
	if len(ends) > 2 {
		return 0, 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", s)
	}
	var n [2]int32
	for i, end := range ends {
		v, err := strconv.Atoi(end)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot convert string to integer for index: %q", end)
		}
		if v >= int(completions) {
			return 0, 0, fmt.Errorf("too large index: %q", end)
		}
		n[i] = int32(v)
	}
	if len(ends) == 1 {
		return n[0], n[0], nil
	}
	if n[0] >= n[1] {
		return 0, 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", n[0], n[1])
	}
	return n[0], n[1], nil
}
