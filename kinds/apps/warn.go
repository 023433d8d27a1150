package apps

import (
	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"proa.dev/kinds/core/podwarn"
)

func warnDeployment(d, old *apps.Deployment) []string {
	return warn(d.Name, &d.Spec.Template, old == nil, old == nil || d.Generation != old.Generation)
}

func warnReplicaSet(r, old *apps.ReplicaSet) []string {
	return warn(r.Name, &r.Spec.Template, old == nil, old == nil || r.Generation != old.Generation)
}

// warnStatefulSet, as warnDaemonSet, needs no warning of the name: that of a StatefulSet is always a label, and pods of a DaemonSet are
// not known by theirs.
func warnStatefulSet(s, old *apps.StatefulSet) []string {
	out := warn("", &s.Spec.Template, false, old == nil || s.Generation != old.Generation)
	for i := range s.Spec.VolumeClaimTemplates {
		at := specPath.Child("volumeClaimTemplates").Index(i)
		if old != nil {
			at = at.Child("Spec")
		}
		out = append(out, podwarn.Claim(at, &s.Spec.VolumeClaimTemplates[i].Spec)...)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}

func warnDaemonSet(d, old *apps.DaemonSet) []string {
	return warn("", &d.Spec.Template, false, old == nil || templateNumber(d) != templateNumber(old))
}

func warn(name string, t *corev1.PodTemplateSpec, created, changed bool) (out []string) {
	if created {
		out = podwarn.Name("", name)
	}
	if changed {
		out = append(out, podwarn.Template(specPath.Child("template"), t)...)
	}
	return out
}
