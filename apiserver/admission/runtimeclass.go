package admission

import (
	"context"
	"maps"

	core "k8s.io/api/core/v1"
	node "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"proa.dev/client"
	"proa.dev/object"
)

// runtimeClass gives a new pod what its class costs above its containers, and where the class can run.
func (s *Start) runtimeClass(_ context.Context, r *Request) error {
	if r.Op != Create || !r.Is("", "pods") {
		return nil
	}
	spec := &r.Object.(*core.Pod).Spec
	if spec.RuntimeClassName == nil {
		return nil
	}
	class, ok := client.Lookup[node.RuntimeClass](s.view, object.Key{Name: *spec.RuntimeClassName})
	if !ok {
		return r.Forbid("pod rejected: RuntimeClass %q not found", *spec.RuntimeClassName)
	}
	if class.Overhead != nil {
		if spec.Overhead != nil && !equality.Semantic.DeepEqual(spec.Overhead, class.Overhead.PodFixed) {
			return r.Forbid("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
		}
		spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for k, v := range class.Scheduling.NodeSelector {
		if have, ok := spec.NodeSelector[k]; ok && have != v {
			return r.Forbid("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", k, v, k, have)
		}
	}
	if len(class.Scheduling.NodeSelector) > 0 {
		if spec.NodeSelector == nil {
			spec.NodeSelector = map[string]string{}
		}
		maps.Copy(spec.NodeSelector, class.Scheduling.NodeSelector)
	}
	for _, t := range class.Scheduling.Tolerations {
		if !contains(spec.Tolerations, t) {
			spec.Tolerations = append(spec.Tolerations, *t.DeepCopy())
		}
	}
	return nil
}

func contains(list []core.Toleration, t core.Toleration) bool {
	for i := range list {
		if equality.Semantic.DeepEqual(list[i], t) {
			return true
		}
	}
	return false
}

// runtimeOverhead refuses overhead that no class gives.
func (s *Start) runtimeOverhead(_ context.Context, r *Request) error {
	if r.Op != Create || !r.Is("", "pods") {
		return nil
	}
	spec := &r.Object.(*core.Pod).Spec
	if spec.RuntimeClassName == nil && spec.Overhead != nil {
		return r.Forbid("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	if spec.RuntimeClassName != nil && spec.Overhead != nil {
		class, ok := client.Lookup[node.RuntimeClass](s.view, object.Key{Name: *spec.RuntimeClassName})
		if ok && class.Overhead == nil {
			return r.Forbid("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
	}
	return nil
}
