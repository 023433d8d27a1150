package admissionregistration

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

// hook is what a validating and a mutating webhook have in common.
type hook struct {
	name                string
	rules               []registration.RuleWithOperations
	client              *registration.WebhookClientConfig
	failure             *registration.FailurePolicyType
	match               *registration.MatchPolicyType
	sideEffects         *registration.SideEffectClass
	timeout             *int32
	namespaces, objects *metav1.LabelSelector
	versions            []string
	conditions          []registration.MatchCondition
	reinvocation        *registration.ReinvocationPolicyType // mutating only
}

// lenient is what is let pass because the object was accepted with it before.
type lenient struct {
	conditions  bool // they are as they were
	sideEffects bool
	versions    bool // none that this server speaks
	names       bool // the same twice
	labels      bool // selectors with values that are no label's
	known       known
}

var strict = lenient{}

// reviewVersions are the versions of AdmissionReview that this server speaks.
var reviewVersions = []string{"v1", "v1beta1"}

// leniency is what may be wrong with now because it was wrong with was.
func leniency(now, was []hook) lenient {
	l := lenient{conditions: len(now) == len(was)}
	names := map[string]bool{}
	for i, h := range was {
		l.conditions = l.conditions && reflect.DeepEqual(now[i].conditions, h.conditions)
		l.sideEffects = l.sideEffects || !noSideEffects(h)
		l.versions = l.versions || len(h.versions) > 0 && !speaks(h.versions)
		l.names = l.names || names[h.name]
		names[h.name] = true
		l.labels = l.labels || badLabels(h.namespaces) || badLabels(h.objects)
		for _, c := range h.conditions {
			l.known = l.known.add(c.Expression)
		}
	}
	return l
}

func noSideEffects(h hook) bool {
	s := ptr.Deref(h.sideEffects, "")
	return s == registration.SideEffectClassNone || s == registration.SideEffectClassNoneOnDryRun
}

func speaks(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

func badLabels(s *metav1.LabelSelector) bool {
	return len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
}

func validateHooks(hooks []hook, l lenient) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		names := map[string]bool{}
		for i := range hooks {
			p, h := field.NewPath("webhooks").Index(i), &hooks[i]
			validateHook(e, p, h, l)
			validateVersions(e, p.Child("admissionReviewVersions"), h.versions, l)
			if h.name == "" || l.names {
				continue
			}
			if names[h.name] {
				e.Duplicate(p.Child("name"), h.name)
			}
			names[h.name] = true
		}
	})
}

func validateHook(e *check.Errors, p *field.Path, h *hook, l lenient) {
	e.Add(utilvalidation.IsFullyQualifiedName(p.Child("name"), h.name)...)
	for i := range h.rules {
		rule(e, p.Child("rules").Index(i), &h.rules[i])
	}
	if h.failure != nil {
		check.OneOf(e, p.Child("failurePolicy"), *h.failure, registration.Fail, registration.Ignore)
	}
	if h.match != nil {
		check.OneOf(e, p.Child("matchPolicy"), *h.match, registration.Equivalent, registration.Exact)
	}
	effects := []registration.SideEffectClass{registration.SideEffectClassNone, registration.SideEffectClassNoneOnDryRun}
	if l.sideEffects {
		effects = append(effects, registration.SideEffectClassSome, registration.SideEffectClassUnknown)
	}
	if h.sideEffects == nil {
		e.Required(p.Child("sideEffects"), fmt.Sprintf("must specify one of %v", strings.Join(listed(effects), ", ")))
	} else {
		check.OneOf(e, p.Child("sideEffects"), *h.sideEffects, effects...)
	}
	if t := h.timeout; t != nil && (*t > 30 || *t < 1) {
		e.Invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
	labels := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: l.labels}
	e.Add(metavalidation.ValidateLabelSelector(h.namespaces, labels, p.Child("namespaceSelector"))...)
	e.Add(metavalidation.ValidateLabelSelector(h.objects, labels, p.Child("objectSelector"))...)
	if h.reinvocation != nil {
		check.OneOf(e, p.Child("reinvocationPolicy"), *h.reinvocation, registration.IfNeededReinvocationPolicy, registration.NeverReinvocationPolicy)
	}
	at := p.Child("clientConfig")
	switch url, s := h.client.URL, h.client.Service; {
	case (url == nil) == (s == nil):
		e.Required(at, "exactly one of url or service is required")
	case url != nil:
		e.WebhookURL(at.Child("url"), *url)
	default:
		// Kubernetes takes the name for the namespace here, and the reverse.
		e.WebhookService(at.Child("service"), check.Service{Namespace: s.Name, Name: s.Namespace, Path: s.Path, Port: ptr.Deref(s.Port, 0)})
	}
	if !l.conditions {
		conditions(e, p.Child("matchConditions"), h.conditions, false, l.known)
	}
}

func listed[T ~string](list []T) []string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return texts
}

func validateVersions(e *check.Errors, p *field.Path, versions []string, l lenient) {
	if len(versions) == 0 {
		e.Required(p, "must specify one of "+strings.Join(reviewVersions, ", "))
		return
	}
	seen := map[string]bool{}
	for i, v := range versions {
		if seen[v] {
			e.Invalid(p.Index(i), v, "duplicate version")
			continue
		}
		seen[v] = true
		e.Invalids(p.Index(i), v, utilvalidation.IsDNS1035Label(v))
	}
	if !l.versions && !speaks(versions) {
		e.Invalid(p, versions, "must include at least one of "+strings.Join(reviewVersions, ", "))
	}
}
