package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/object"
)

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) {
	p := plugin{d.View}
	return admission.Part{Steps: []admission.Step{
		{Name: "TaintNodesByCondition", Admit: taint},
		{Name: "PodTopologyLabels", Admit: p.topology},
		{Name: "PodResizeValidator", Check: p.resize},
	}}, nil
}

type plugin struct{ view client.View }

// taint keeps pods off a new node until it says that it is ready. control/nodelife takes the taint away then.
func taint(_ context.Context, r *admission.Request) error {
	if r.Op != admission.Create || !r.Is("", "nodes") {
		return nil
	}
	n := r.Object.(*core.Node)
	if !slices.ContainsFunc(n.Spec.Taints, func(t core.Taint) bool {
		return t.Key == core.TaintNodeNotReady && t.Effect == core.TaintEffectNoSchedule
	}) {
		n.Spec.Taints = append(n.Spec.Taints, core.Taint{Key: core.TaintNodeNotReady, Effect: core.TaintEffectNoSchedule})
	}
	return nil
}

// topology gives a pod that comes to a node the node's zone and region (KEP-4742). A binding brings them to its pod.
func (p plugin) topology(_ context.Context, r *admission.Request) error {
	if r.Op != admission.Create || r.Kind.Kind != "Pod" || r.Kind.Group != "" {
		return nil
	}
	name := ""
	switch o := r.Object.(type) {
	case *core.Pod:
		name = o.Spec.NodeName
	case *core.Binding:
		if o.Target.Kind == "Node" {
			name = o.Target.Name
		}
	}
	if name == "" {
		return nil
	}
	n, ok := client.Lookup[core.Node](p.view, object.Key{Name: name})
	if !ok {
		return nil
	}
	for _, key := range []string{core.LabelTopologyZone, core.LabelTopologyRegion} {
		if value, ok := n.Labels[key]; ok {
			labels := r.Object.GetLabels()
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key] = value
			r.Object.SetLabels(labels)
		}
	}
	return nil
}

// Why a pod cannot be resized.
const (
	wrongPlatform metav1.CauseType = "UnsupportedPlatform"
	tooLarge      metav1.CauseType = "NodeCapacity"
)

// resize refuses to resize a pod beyond what its node has.
func (p plugin) resize(_ context.Context, r *admission.Request) error {
	if r.Op != admission.Update || r.Sub != "resize" || r.Kind.Kind != "Pod" {
		return nil
	}
	pod := r.Object.(*core.Pod)
	if pod.Spec.NodeName == "" || pod.Generation == r.Old.GetGeneration() {
		return nil
	}
	n, ok := client.Lookup[core.Node](p.view, object.Key{Name: pod.Spec.NodeName})
	if !ok {
		return r.Forbid("node %q not found", pod.Spec.NodeName)
	}
	if os, ok := n.Labels[core.LabelOSStable]; ok && os != "linux" {
		return because(r, wrongPlatform, fmt.Sprintf("pod resize is only supported on linux nodes, node %q is %q", n.Name, os))
	}
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var lacking []string
	if want, have := requests.Cpu(), n.Status.Allocatable.Cpu(); want.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("cpu, requested: %d, allocatable: %d", want.MilliValue(), have.MilliValue()))
	}
	if want, have := requests.Memory(), n.Status.Allocatable.Memory(); want.Cmp(*have) > 0 {
		lacking = append(lacking, fmt.Sprintf("memory, requested: %d, allocatable: %d", want.Value(), have.Value()))
	}
	if len(lacking) > 0 {
		return because(r, tooLarge, "node didn't have enough allocatable resources: "+strings.Join(lacking, "; "))
	}
	return nil
}

func because(r *admission.Request, why metav1.CauseType, message string) error {
	err := r.Forbid("%s", message)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: why})
	return err
}
