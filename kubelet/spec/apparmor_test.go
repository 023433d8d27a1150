package spec

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"
)

func TestAppArmor(t *testing.T) {
	profile := func(kind core.AppArmorProfileType, name string) *core.AppArmorProfile {
		p := &core.AppArmorProfile{Type: kind}
		if name != "" {
			p.LocalhostProfile = &name
		}
		return p
	}
	const local, byDefault, unconfined = core.AppArmorProfileTypeLocalhost, core.AppArmorProfileTypeRuntimeDefault, core.AppArmorProfileTypeUnconfined
	for _, c := range []struct {
		pod, own         *core.AppArmorProfile
		annotation       string
		privileged, want bool // wants to be confined
		cri              string
	}{
		{cri: "<nil>, "},
		{privileged: true, cri: "<nil>, "},
		{pod: profile(byDefault, ""), want: true, cri: "RuntimeDefault , runtime/default"},
		{pod: profile(byDefault, ""), privileged: true, want: true, cri: "RuntimeDefault , runtime/default"},
		{pod: profile(local, "a"), own: profile(unconfined, ""), want: true, cri: "Unconfined , unconfined"},
		{pod: profile(unconfined, ""), cri: "Unconfined , unconfined"},
		{own: profile(local, "a b"), want: true, cri: "Localhost a b, localhost/a b"},
		{annotation: "localhost/x", pod: profile(unconfined, ""), want: true, cri: "Localhost x, localhost/x"},
		{annotation: "runtime/default", want: true, cri: "RuntimeDefault , runtime/default"},
		{annotation: "unconfined", pod: profile(unconfined, ""), cri: "Unconfined , unconfined"},
		{annotation: "unconfined", own: profile(local, "y"), want: true, cri: "Localhost y, localhost/y"},
		{annotation: "what", pod: profile(unconfined, ""), want: true, cri: "Unconfined , unconfined"},
	} {
		pod := &core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{AppArmorProfile: c.pod}, Containers: []core.Container{{
			Name: "c", SecurityContext: &core.SecurityContext{AppArmorProfile: c.own, Privileged: &c.privileged}}}}}
		if c.annotation != "" {
			pod.Annotations = map[string]string{core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "c": c.annotation}
		}
		sc, err := Security(&Node{}, pod, &pod.Spec.Containers[0], Image{})
		if err != nil {
			t.Fatal(err)
		}
		got := "<nil>"
		if p := sc.Apparmor; p != nil {
			got = p.ProfileType.String() + " " + p.LocalhostRef
		}
		if got = fmt.Sprintf("%s, %s", got, sc.ApparmorProfile); got != c.cri || WantsAppArmor(pod) != c.want {
			t.Errorf("%+v: CRI hears %q, wants to be confined: %v", c, got, WantsAppArmor(pod))
		}
	}
	for _, pod := range []*core.Pod{
		{Spec: core.PodSpec{InitContainers: []core.Container{{SecurityContext: &core.SecurityContext{AppArmorProfile: profile(byDefault, "")}}}}},
		{Spec: core.PodSpec{EphemeralContainers: []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{
			SecurityContext: &core.SecurityContext{AppArmorProfile: profile(byDefault, "")}}}}}},
	} {
		if !WantsAppArmor(pod) {
			t.Errorf("%+v does not want to be confined", pod.Spec)
		}
	}
}
