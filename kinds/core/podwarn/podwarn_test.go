package podwarn

import (
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestAppArmor(t *testing.T) {
	const key = core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "c"
	const use = `deprecated since v1.30; use the "appArmorProfile" field instead`
	profile := &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}
	template := func(pod, own *core.AppArmorProfile) *core.PodTemplateSpec {
		t := &core.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{key: "runtime/default"}}}
		t.Spec.SecurityContext = &core.PodSecurityContext{AppArmorProfile: pod}
		t.Spec.Containers = []core.Container{{Name: "c", SecurityContext: &core.SecurityContext{AppArmorProfile: own}}}
		return t
	}
	at := field.NewPath("template")
	for _, c := range []struct {
		name string
		t    *core.PodTemplateSpec
		want []string
	}{
		{"an annotation alone", template(nil, nil), []string{"template.metadata.annotations[" + key + "]: " + use}},
		{"the container's own field beside it", template(nil, profile), nil},
		{"the same for the whole pod", template(profile, nil), nil},
		{"something else for the whole pod", template(&core.AppArmorProfile{Type: core.AppArmorProfileTypeUnconfined}, nil),
			[]string{"template.metadata.annotations[" + key + "]: " + use}},
	} {
		if got := Template(at, c.t); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOldLabels(t *testing.T) {
	s := core.PodSpec{NodeSelector: map[string]string{"node-role.kubernetes.io/master": "", "beta.kubernetes.io/os": "linux", "mine": "x"}}
	s.TopologySpreadConstraints = []core.TopologySpreadConstraint{{TopologyKey: core.LabelFailureDomainBetaZone, LabelSelector: &metav1.LabelSelector{}}}
	want := []string{
		`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
		`spec.nodeSelector[node-role.kubernetes.io/master]: use "node-role.kubernetes.io/control-plane" instead`,
		`spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	}
	if got := Pod(&core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: s}, nil); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
