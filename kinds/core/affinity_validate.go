package core

import (
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

const (
	required  = "requiredDuringSchedulingIgnoredDuringExecution"
	preferred = "preferredDuringSchedulingIgnoredDuringExecution"
)

func (c *podCheck) affinity(p *field.Path) {
	a := c.spec.Affinity
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil {
		at := p.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			NodeSelector(c.Errors, at.Child(required), n.RequiredDuringSchedulingIgnoredDuringExecution)
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			c.weight(at.Child(preferred).Index(i), t.Weight)
			nodeTerm(c.Errors, at.Child(preferred).Index(i).Child("preference"), t.Preference, false)
		}
	}
	if x := a.PodAffinity; x != nil {
		c.podTerms(p.Child("podAffinity"), x.RequiredDuringSchedulingIgnoredDuringExecution, x.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if x := a.PodAntiAffinity; x != nil {
		c.podTerms(p.Child("podAntiAffinity"), x.RequiredDuringSchedulingIgnoredDuringExecution, x.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (c *podCheck) weight(p *field.Path, w int32) {
	if w <= 0 || w > 100 {
		c.Invalid(p.Child("weight"), w, "must be in the range 1-100")
	}
}

func (c *podCheck) podTerms(p *field.Path, must []core.PodAffinityTerm, should []core.WeightedPodAffinityTerm) {
	for i, t := range must {
		c.podTerm(p.Child(required).Index(i), t)
	}
	for i, t := range should {
		c.weight(p.Child(preferred).Index(i), t.Weight)
		c.podTerm(p.Child(preferred).Index(i).Child("podAffinityTerm"), t.PodAffinityTerm)
	}
}

func (c *podCheck) podTerm(p *field.Path, t core.PodAffinityTerm) {
	c.Selector(p.Child("labelSelector"), t.LabelSelector)
	c.Selector(p.Child("namespaceSelector"), t.NamespaceSelector)
	for _, ns := range t.Namespaces {
		c.Invalids(p.Child("namespace"), ns, validation.ValidateNamespaceName(ns, false))
	}
	c.labelKeys(p, t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector)
	if t.TopologyKey == "" {
		c.Required(p.Child("topologyKey"), "can not be empty")
	}
	c.LabelName(p.Child("topologyKey"), t.TopologyKey)
}

func (c *podCheck) labelKeys(p *field.Path, match, mismatch []string, s *metav1.LabelSelector) {
	for _, keys := range []struct {
		name string
		list []string
	}{{"matchLabelKeys", match}, {"mismatchLabelKeys", mismatch}} {
		if len(keys.list) > 0 && s == nil {
			c.Forbidden(p.Child(keys.name), "must not be specified when labelSelector is not set")
			continue
		}
		for i, k := range keys.list {
			c.LabelName(p.Child(keys.name).Index(i), k)
		}
	}
	if s != nil {
		// One requirement of a key that is also in matchLabelKeys may come from merging it in; two may not.
		selected := map[string]bool{}
		for k := range s.MatchLabels {
			selected[k] = true
		}
		for _, r := range s.MatchExpressions {
			if i := slices.Index(match, r.Key); i >= 0 && selected[r.Key] {
				c.Invalid(p.Index(i), r.Key, "exists in both matchLabelKeys and labelSelector")
			}
			selected[r.Key] = true
		}
	}
	for i, k := range match {
		if slices.Contains(mismatch, k) {
			c.Invalid(p.Child("matchLabelKeys").Index(i), k, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

// NodeSelector checks a selector of nodes.
func NodeSelector(e *check.Errors, p *field.Path, s *core.NodeSelector) {
	p = p.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		e.Required(p, "must have at least one node selector term")
	}
	for i, t := range s.NodeSelectorTerms {
		nodeTerm(e, p.Index(i), t, true)
	}
}

func nodeTerm(e *check.Errors, p *field.Path, t core.NodeSelectorTerm, checkValues bool) {
	for i, r := range t.MatchExpressions {
		nodeRequirement(e, p.Child("matchExpressions").Index(i), r, checkValues)
	}
	for i, r := range t.MatchFields {
		nodeField(e, p.Child("matchFields").Index(i), r)
	}
}

func nodeRequirement(e *check.Errors, p *field.Path, r core.NodeSelectorRequirement, checkValues bool) {
	switch r.Operator {
	case core.NodeSelectorOpIn, core.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			e.Required(p.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case core.NodeSelectorOpExists, core.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			e.Forbidden(p.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case core.NodeSelectorOpGt, core.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			e.Required(p.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	e.LabelName(p.Child("key"), r.Key)
	if checkValues {
		for i, v := range r.Values {
			e.Invalids(p.Child("values").Index(i), v, utilvalidation.IsValidLabelValue(v))
		}
	}
}

func nodeField(e *check.Errors, p *field.Path, r core.NodeSelectorRequirement) {
	switch r.Operator {
	case core.NodeSelectorOpIn, core.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			e.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		e.Invalid(p.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		e.Invalid(p.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, v := range r.Values {
		e.Subdomain(p.Child("values").Index(i), v)
	}
}

func (c *podCheck) spreadConstraints(p *field.Path) {
	all := c.spec.TopologySpreadConstraints
	for i, s := range all {
		at := p.Index(i)
		c.Positive(at.Child("maxSkew"), int64(s.MaxSkew))
		if s.TopologyKey == "" {
			c.Required(at.Child("topologyKey"), "can not be empty")
		}
		check.OneOf(c.Errors, at.Child("whenUnsatisfiable"), s.WhenUnsatisfiable, core.DoNotSchedule, core.ScheduleAnyway)
		for _, other := range all[i+1:] {
			if s.TopologyKey == other.TopologyKey && s.WhenUnsatisfiable == other.WhenUnsatisfiable {
				c.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", s.TopologyKey, s.WhenUnsatisfiable))
				break
			}
		}
		if s.MinDomains != nil {
			c.Positive(at.Child("minDomains"), int64(*s.MinDomains))
			if s.WhenUnsatisfiable != core.DoNotSchedule {
				c.Invalid(at.Child("minDomains"), s.MinDomains,
					fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", core.DoNotSchedule, s.WhenUnsatisfiable))
			}
		}
		if s.NodeAffinityPolicy != nil {
			check.OneOf(c.Errors, at.Child("nodeAffinityPolicy"), *s.NodeAffinityPolicy, core.NodeInclusionPolicyHonor, core.NodeInclusionPolicyIgnore)
		}
		if s.NodeTaintsPolicy != nil {
			check.OneOf(c.Errors, at.Child("nodeTaintsPolicy"), *s.NodeTaintsPolicy, core.NodeInclusionPolicyHonor, core.NodeInclusionPolicyIgnore)
		}
		c.labelKeys(at, s.MatchLabelKeys, nil, s.LabelSelector)
		c.Selector(at.Child("labelSelector"), s.LabelSelector)
	}
}

func tolerations(e *check.Errors, p *field.Path, list []core.Toleration) {
	for i, t := range list {
		at := p.Index(i)
		if t.Key != "" {
			e.LabelName(at.Child("key"), t.Key)
		} else if t.Operator != core.TolerationOpExists {
			e.Invalid(at.Child("operator"), t.Operator,
				"operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != core.TaintEffectNoExecute {
			e.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case core.TolerationOpEqual, "":
			if msgs := utilvalidation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				e.Invalid(at.Child("operator"), t.Value, strings.Join(msgs, ";"))
			}
		case core.TolerationOpExists:
			if t.Value != "" {
				e.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case core.TolerationOpLt, core.TolerationOpGt:
			e.Add(field.NotSupported(at.Child("operator"), t.Operator, // they stand behind a feature that is off, and are named all the same
				[]core.TolerationOperator{core.TolerationOpEqual, core.TolerationOpExists, core.TolerationOpLt, core.TolerationOpGt}))
		default:
			check.OneOf(e, at.Child("operator"), t.Operator, core.TolerationOpEqual, core.TolerationOpExists)
		}
		if t.Effect != "" {
			taintEffect(e, at.Child("effect"), t.Effect)
		}
	}
}

func taintEffect(e *check.Errors, p *field.Path, v core.TaintEffect) {
	check.OneOfRequired(e, p, v, core.TaintEffectNoSchedule, core.TaintEffectPreferNoSchedule, core.TaintEffectNoExecute)
}

// ValidateTolerations checks a list of tolerations.
func ValidateTolerations(e *check.Errors, p *field.Path, list []core.Toleration) {
	tolerations(e, p, list)
}
