package resource

import (
	"time"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core"
)

// DeviceTaintRule is resource.k8s.io/v1 DeviceTaintRule: a taint on all devices that are selected, as if their drivers had set it (KEP-5055).
var DeviceTaintRule = kinds.Def[resource.DeviceTaintRule, *resource.DeviceTaintRule]{
	Path:       "resource.k8s.io/v1/devicetaintrules",
	Cluster:    true,
	Generation: true,
	Versioned:  true,
	Status:     true,
	Former:     []string{"resource.k8s.io/v1beta2"},
	Name:       func(name string, _ bool) []string { return content.IsDNS1123Subdomain(name) },
	Default:    func(r *resource.DeviceTaintRule) { dateTaint(&r.Spec.Taint) },
	Prepare: func(r, old *resource.DeviceTaintRule) {
		if old == nil {
			return
		}
		// The time is that of the effect: how long it is tolerated is counted from when it changed.
		now, was := &r.Spec.Taint, &old.Spec.Taint
		if now.Effect != was.Effect && now.TimeAdded.Equal(was.TimeAdded) {
			now.TimeAdded = nil
			dateTaint(now)
		}
	},
	PrepareStatus:  func(r, old *resource.DeviceTaintRule) { metav1.ResetObjectMetaForStatus(r, old) },
	ValidateCreate: func(r *resource.DeviceTaintRule) field.ErrorList { return validateTaintRule(r, nil) },
	ValidateUpdate: validateTaintRule,
	ValidateStatus: func(r, _ *resource.DeviceTaintRule) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			p := field.NewPath("status", "conditions")
			e.Add(metavalidation.ValidateConditions(r.Status.Conditions, p)...)
			if n := len(r.Status.Conditions); n > resource.DeviceTaintRuleStatusMaxConditions {
				e.Add(field.TooMany(p, n, resource.DeviceTaintRuleStatusMaxConditions))
			}
		})
	},
	Columns: taintRuleColumns(),
	Row: func(r *resource.DeviceTaintRule, now time.Time) []any {
		t, added := &r.Spec.Taint, ""
		if t.TimeAdded != nil {
			added = kinds.Age(*t.TimeAdded, now)
		}
		return []any{r.Name, t.Key, t.Value, string(t.Effect), added, kinds.Age(r.CreationTimestamp, now)}
	},
}

func taintRuleColumns() []kinds.Column {
	taint := resource.DeviceTaint{}.SwaggerDoc()
	return kinds.Columns("Name", "Key|"+taint["key"], "Value|"+taint["value"], "Effect|"+taint["effect"], "TimeAdded|"+taint["timeAdded"], "Age")
}

// dateTaint says when a taint was added, if its author does not.
func dateTaint(t *resource.DeviceTaint) {
	if t.TimeAdded == nil {
		t.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
	}
}

func validateTaintRule(r, old *resource.DeviceTaintRule) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		p := field.NewPath("spec")
		if s, p := r.Spec.DeviceSelector, p.Child("deviceSelector"); s != nil {
			if s.Driver != nil {
				core.CSIDriverName(e, p.Child("driver"), *s.Driver)
			}
			if s.Pool != nil {
				poolName(e, p.Child("pool"), *s.Pool)
			}
			if s.Device != nil {
				e.Label(p.Child("device"), *s.Device)
			}
		}
		settled := old != nil && old.Spec.Taint.Effect == r.Spec.Taint.Effect
		taint(e, p.Child("taint"), &r.Spec.Taint, settled)
	})
}

// taint checks one. An effect that is settled was accepted before.
func taint(e *check.Errors, p *field.Path, t *resource.DeviceTaint, settled bool) {
	e.LabelName(p.Child("key"), t.Key)
	if t.Value != "" {
		e.Invalids(p.Child("value"), t.Value, utilvalidation.IsValidLabelValue(t.Value))
	}
	if !settled {
		check.OneOfRequired(e, p.Child("effect"), t.Effect, effects[:]...)
	}
}
