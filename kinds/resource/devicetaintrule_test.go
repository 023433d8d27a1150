package resource

import (
	"testing"
	"time"

	resource "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTaintRule(t *testing.T) {
	const label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
	empty := ""
	rule := func(effect resource.DeviceTaintEffect) *resource.DeviceTaintRule {
		return &resource.DeviceTaintRule{Spec: resource.DeviceTaintRuleSpec{Taint: resource.DeviceTaint{Key: "k", Effect: effect}}}
	}
	hollow, odd := rule("NoExecute"), rule("")
	hollow.Spec.DeviceSelector = &resource.DeviceTaintSelector{Driver: &empty, Pool: &empty, Device: &empty}
	odd.Spec.Taint.Value = "a b"
	for _, c := range []struct {
		now, old *resource.DeviceTaintRule
		want     []string
	}{
		{rule("None"), nil, nil},
		{rule(""), nil, []string{"spec.taint.effect: Required value"}},
		{rule("Odd"), nil, []string{`spec.taint.effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"`}},
		{rule("Odd"), rule("Odd"), nil}, // accepted before
		{rule("Odd"), rule("None"), []string{`spec.taint.effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"`}},
		{hollow, nil, []string{"spec.deviceSelector.driver: Required value", "spec.deviceSelector.pool: Required value",
			`spec.deviceSelector.device: Invalid value: "": ` + label}},
	} {
		errs := validateTaintRule(c.now, c.old)
		if len(errs) != len(c.want) {
			t.Errorf("%+v: %v, want %q", c.now.Spec, errs, c.want)
			continue
		}
		for i := range errs {
			if errs[i].Error() != c.want[i] {
				t.Errorf("got %s, want %s", errs[i], c.want[i])
			}
		}
	}
	if errs := validateTaintRule(odd, rule("")); len(errs) != 1 || errs[0].Field != "spec.taint.value" {
		t.Errorf("%v", errs)
	}
}

func TestTimeOfTaintIsThatOfItsEffect(t *testing.T) {
	rule := func(effect resource.DeviceTaintEffect, at time.Time) *resource.DeviceTaintRule {
		added := metav1.NewTime(at)
		return &resource.DeviceTaintRule{Spec: resource.DeviceTaintRuleSpec{Taint: resource.DeviceTaint{Key: "k", Effect: effect, TimeAdded: &added}}}
	}
	old := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		effect resource.DeviceTaintEffect
		at     time.Time
		keeps  bool
	}{{"None", old, true}, {"NoExecute", old, false}, {"NoExecute", old.Add(time.Hour), true}} {
		now := rule(c.effect, c.at)
		DeviceTaintRule.Prepare(now, rule("None", old))
		if got := now.Spec.Taint.TimeAdded.Time; got.Equal(c.at) != c.keeps {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
