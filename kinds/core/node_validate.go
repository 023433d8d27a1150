package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"proa.dev/kinds/check"
	"proa.dev/kinds/core/resources"
)

func validateNode(n *core.Node) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		avoidance(e, metaPath.Child("annotations", "AvoidPods"), n.Annotations[core.PreferAvoidPodsAnnotationKey])
		taints(e, metaPath.Child("taints"), n.Spec.Taints)
		nodeResources(e, n)
		declaredFeatures(e, n)
		p := specPath.Child("podCIDRs")
		for i, c := range n.Spec.PodCIDRs {
			e.CIDR(p.Index(i), c, nil)
		}
		if len(n.Spec.PodCIDRs) > 1 {
			dual, err := netutils.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
			if err != nil {
				e.Add(field.InternalError(p, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
			}
			if !dual || len(n.Spec.PodCIDRs) > 2 {
				e.Invalid(p, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
			}
		}
	})
}

// avoidance checks an old annotation that says which pods a node would rather not have.
func avoidance(e *check.Errors, p *field.Path, text string) {
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), &core.AvoidPods{}); err != nil {
		e.Invalid(p, core.PreferAvoidPodsAnnotationKey, err.Error())
	}
}

func nodeResources(e *check.Errors, n *core.Node) {
	each := func(p *field.Path, list core.ResourceList) {
		for _, r := range slices.Sorted(maps.Keys(list)) {
			resources.Value(e, p.Child(string(r)), r, list[r])
		}
	}
	each(statusPath.Child("capacity"), n.Status.Capacity)
	each(statusPath.Child("allocatable"), n.Status.Allocatable)
}

func taints(e *check.Errors, p *field.Path, list []core.Taint) {
	seen := map[core.Taint]bool{}
	for i, t := range list {
		at := p.Index(i)
		e.LabelName(at.Child("key"), t.Key)
		if msgs := utilvalidation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			e.Invalid(at.Child("value"), t.Value, strings.Join(msgs, ";"))
		}
		taintEffect(e, at.Child("effect"), t.Effect)
		key := core.Taint{Key: t.Key, Effect: t.Effect}
		if seen[key] {
			err := field.Duplicate(at, check.Plain(t))
			err.Detail = "taints must be unique by key and effect pair"
			e.Add(err)
		}
		seen[key] = true
	}
}

// declaredFeatures checks the names of what a node can do, which stand in order (KEP-5328).
func declaredFeatures(e *check.Errors, n *core.Node) {
	for i, f := range n.Status.DeclaredFeatures {
		at := statusPath.Child("declaredFeatures").Index(i)
		switch {
		case len(f) > utilvalidation.DNS1123SubdomainMaxLength:
			e.Invalid(at, f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, utilvalidation.DNS1123SubdomainMaxLength))
		case !featureName(f):
			e.Invalid(at, f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments "+
				"separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f))
		}
		if i+1 == len(n.Status.DeclaredFeatures) {
			break
		}
		switch next, at := n.Status.DeclaredFeatures[i+1], statusPath.Child("declaredFeatures").Index(i+1); {
		case f == next:
			e.Duplicate(at, next)
		case f > next:
			e.Invalid(at, next, "list must be sorted alphabetically")
		}
	}
}

// featureName says whether f is made of words in letters and digits, the first of them with a capital.
func featureName(f string) bool {
	for i, word := range strings.Split(f, "/") {
		for j, c := range []byte(word) {
			upper, lower, digit := 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9'
			if j > 0 && !upper && !lower && !digit || j == 0 && !upper && (i == 0 || !lower) {
				return false
			}
		}
		if word == "" {
			return false
		}
	}
	return true
}

func validateNodeUpdate(n, old *core.Node) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		declaredFeatures(e, n) // Kubernetes looks twice here and below: the causes come twice
		if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
			e.Forbidden(specPath.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid")
		}
		if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
			e.Forbidden(specPath.Child("providerID"), "node updates may not change providerID except from \"\" to valid")
		}
		taints(e, metaPath.Child("taints"), n.Spec.Taints) // Kubernetes looks twice: the causes come twice
		if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
			e.Forbidden(specPath.Child("externalID"), "may not be updated")
		}
	})
}

func validateNodeStatus(n, old *core.Node) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		nodeResources(e, n)
		declaredFeatures(e, n)
		seen := map[core.NodeAddress]bool{}
		for i, a := range n.Status.Addresses {
			if seen[a] {
				e.Duplicate(statusPath.Child("addresses").Index(i), a)
			}
			seen[a] = true
		}
	})
}
