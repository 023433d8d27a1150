package statefulset

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

func claimName(set *apps.StatefulSet, template string, ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", template, set.Name, ordinal)
}

// newClaims is the claims of the pod with this number that do not exist. wait says that one of them is being deleted: the pod must not be
// made before that is over, or it would hang on to the old one.
func newClaims(s state, ordinal int) (changes []control.Change, wait bool) {
	set := s.set
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		name := claimName(set, t.Name, ordinal)
		if c, ok := s.claim(name); ok {
			wait = wait || c.DeletionTimestamp != nil
			continue
		}
		c := object.Clone(t)
		c.Name, c.Namespace = name, set.Namespace
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		if policyOf(set).WhenDeleted == apps.DeletePersistentVolumeClaimRetentionPolicyType {
			c.OwnerReferences = append(c.OwnerReferences, control.RefOf(set))
		}
		pod := podName(set, ordinal)
		changes = append(changes, control.Change{
			Op: control.Create, Object: c,
			Said: control.Note{On: set, Reason: "SuccessfulCreate",
				Format: fmt.Sprintf("create Claim %s Pod %s in StatefulSet %s success", name, pod, set.Name)},
			Refused: control.Note{On: set, Reason: "FailedCreate",
				Format: fmt.Sprintf("create Claim %s for Pod %s in StatefulSet %s failed error: ", name, pod, set.Name) + "%[1]v"},
		})
	}
	return changes, wait
}

func policyOf(set *apps.StatefulSet) apps.StatefulSetPersistentVolumeClaimRetentionPolicy {
	p := apps.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: apps.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: apps.RetainPersistentVolumeClaimRetentionPolicyType,
	}
	if set.Spec.PersistentVolumeClaimRetentionPolicy != nil {
		p = *set.Spec.PersistentVolumeClaimRetentionPolicy
	}
	return p
}

// ownClaims makes the claims of p belong to whom the retention policy says: to the set, if they are to go with it, and to a pod that is
// scaled away, if they are to go with that. A claim that somebody else controls is left alone.
func ownClaims(s state, p *core.Pod, condemned bool) []control.Change {
	const drop = apps.DeletePersistentVolumeClaimRetentionPolicyType
	set, policy := s.set, policyOf(s.set)
	toPod := policy.WhenScaled == drop && condemned
	toSet := policy.WhenDeleted == drop && !toPod
	var changes []control.Change
	for i := range set.Spec.VolumeClaimTemplates {
		c, ok := s.claim(claimName(set, set.Spec.VolumeClaimTemplates[i].Name, ordinalOf(set, p)))
		if !ok || c.DeletionTimestamp != nil || foreign(c, set, p) {
			continue
		}
		refs := slices.DeleteFunc(slices.Clone(c.OwnerReferences), func(r metav1.OwnerReference) bool {
			return r.UID == set.UID || r.UID == p.UID
		})
		if toSet {
			refs = append(refs, control.RefOf(set))
		}
		if toPod {
			refs = append(refs, control.RefOf(p))
		}
		if len(refs) == 0 && len(c.OwnerReferences) == 0 || reflect.DeepEqual(refs, c.OwnerReferences) {
			continue
		}
		n := object.Clone(c)
		n.OwnerReferences = refs
		changes = append(changes, control.Change{Op: control.Update, Object: n})
	}
	return changes
}

// foreign says whether a claim is controlled by something else, or by an earlier set or pod of the same name.
func foreign(c *core.PersistentVolumeClaim, set *apps.StatefulSet, p *core.Pod) bool {
	for _, r := range c.OwnerReferences {
		if r.UID == set.UID || r.UID == p.UID {
			continue
		}
		if control.Or(r.Controller, false) || r.Kind == "StatefulSet" && r.Name == set.Name || r.Kind == "Pod" && r.Name == p.Name {
			return true
		}
	}
	return false
}
