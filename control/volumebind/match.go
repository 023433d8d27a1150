package volumebind

import (
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	kinds "proa.dev/kinds/storage"
)

// best is the volume for c: one that is meant for it, else, unless only that will do, the smallest free one that fits; nil if there is none.
func best(c *core.PersistentVolumeClaim, volumes []*core.PersistentVolume, meantOnly bool) *core.PersistentVolume {
	sel := labels.Everything()
	if c.Spec.Selector != nil {
		var err error
		if sel, err = metav1.LabelSelectorAsSelector(c.Spec.Selector); err != nil {
			return nil // validation refuses what does not parse
		}
	}
	var found *core.PersistentVolume
	for _, v := range volumes {
		if v.DeletionTimestamp != nil || kinds.Fits(v, c) != "" {
			continue
		}
		if kinds.Meant(v, c) {
			return v
		}
		if meantOnly || v.Spec.ClaimRef != nil || !sel.Matches(labels.Set(v.Labels)) {
			continue
		}
		if found == nil || kinds.Smaller(v, found) {
			found = v
		}
	}
	return found
}
