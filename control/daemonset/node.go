package daemonset

import (
	"slices"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"proa.dev/control"
)

// nameField is the field of nodes that the affinity of daemon pods goes by.
const nameField = "metadata.name"

// fits says whether a pod of the template should run on n, and whether one that is there may stay: a NoSchedule taint does not drive away.
func fits(template *core.Pod, n *core.Node) (run, stay bool) {
	if template.Spec.NodeName != "" && template.Spec.NodeName != n.Name {
		return false, false
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(template).Match(n); err != nil || !ok {
		return false, false
	}
	run, stay = true, true
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect == core.TaintEffectPreferNoSchedule || control.Toleration(template.Spec.Tolerations, t) != nil {
			continue
		}
		run = false
		stay = stay && t.Effect != core.TaintEffectNoExecute
	}
	return run, stay
}

// templatePod is a pod of ds before it is given a node.
func templatePod(ds *apps.DaemonSet) *core.Pod {
	p := control.NewPod(&ds.Spec.Template, ds)
	p.Spec.Tolerations = tolerations(&p.Spec)
	return p
}

// tolerations is those of the template and the ones that every daemon pod has: it stays on bad nodes, and goes where others must not.
func tolerations(spec *core.PodSpec) []core.Toleration {
	out := slices.Clone(spec.Tolerations)
	add := func(key string, effect core.TaintEffect) {
		t := core.Toleration{Key: key, Operator: core.TolerationOpExists, Effect: effect}
		if !slices.ContainsFunc(out, func(have core.Toleration) bool { return have.MatchToleration(&t) && have.TolerationSeconds == nil }) {
			out = append(out, t)
		}
	}
	add(core.TaintNodeNotReady, core.TaintEffectNoExecute)
	add(core.TaintNodeUnreachable, core.TaintEffectNoExecute)
	add(core.TaintNodeDiskPressure, core.TaintEffectNoSchedule)
	add(core.TaintNodeMemoryPressure, core.TaintEffectNoSchedule)
	add(core.TaintNodePIDPressure, core.TaintEffectNoSchedule)
	add(core.TaintNodeUnschedulable, core.TaintEffectNoSchedule)
	if spec.HostNetwork {
		add(core.TaintNodeNetworkUnavailable, core.TaintEffectNoSchedule)
	}
	return out
}

// newPod is the pod of ds for a node, of the revision with that hash.
func newPod(ds *apps.DaemonSet, node, hash string) *core.Pod {
	p := templatePod(ds)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[apps.ControllerRevisionHashLabelKey] = hash
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &core.Affinity{}
	}
	if p.Spec.Affinity.NodeAffinity == nil {
		p.Spec.Affinity.NodeAffinity = &core.NodeAffinity{}
	}
	// What the template requires of a node is known to hold for this one.
	p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &core.NodeSelector{
		NodeSelectorTerms: []core.NodeSelectorTerm{{MatchFields: []core.NodeSelectorRequirement{
			{Key: nameField, Operator: core.NodeSelectorOpIn, Values: []string{node}},
		}}},
	}
	return p
}

// nodeOf is the node that p runs on or is meant for, or "".
func nodeOf(p *core.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == nameField && f.Operator == core.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

func hashOf(o metav1.Object) string { return o.GetLabels()[apps.ControllerRevisionHashLabelKey] }
