package admission

import (
	"context"

	core "k8s.io/api/core/v1"
)

// evictAfter is how many seconds pods stay on a node that is not ready or cannot be reached, unless they say otherwise.
const evictAfter = 300

// tolerationSeconds lets pods stay for a while on a node that has gone quiet. An update is given them again: its client may have
// replaced the whole list, and a pod may not lose tolerations.
func tolerationSeconds(_ context.Context, r *Request) error {
	if r.Op != Create && r.Op != Update || !r.Is("", "pods") {
		return nil
	}
	p := r.Object.(*core.Pod)
	for _, key := range []string{core.TaintNodeNotReady, core.TaintNodeUnreachable} {
		if tolerated(p.Spec.Tolerations, key) {
			continue
		}
		seconds := int64(evictAfter)
		p.Spec.Tolerations = append(p.Spec.Tolerations, core.Toleration{
			Key: key, Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	return nil
}

func tolerated(list []core.Toleration, key string) bool {
	for _, t := range list {
		if (t.Key == key || t.Key == "") && (t.Effect == core.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
