package limitranger

import (
	"context"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/component-helpers/resource"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
)

// told is the annotation that says what a pod was given.
const told = "kubernetes.io/limit-ranger"

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) {
	p := plugin{d.View}
	return admission.Part{Steps: []admission.Step{{Name: "LimitRanger", Admit: p.admit, Check: p.check}}}, nil
}

type plugin struct{ view client.View }

// ranges are those that bound what a request writes: a new pod, a resize, or a claim.
func (p plugin) ranges(r *admission.Request) []*core.LimitRange {
	if r.Kind.Group != "" || r.Op != admission.Create && r.Op != admission.Update || r.Old != nil && r.Old.GetDeletionTimestamp() != nil {
		return nil
	}
	switch {
	case r.Kind.Kind == "Pod" && (r.Op == admission.Create && r.Sub == "" || r.Op == admission.Update && r.Sub == "resize"):
	case r.Kind.Kind == "PersistentVolumeClaim" && r.Sub == "":
	default:
		return nil
	}
	return client.ListOf[core.LimitRange](p.view, client.Select{Namespace: r.Key.Namespace})
}

// admit gives the containers of a pod what they do not say themselves.
func (p plugin) admit(_ context.Context, r *admission.Request) error {
	pod, ok := r.Object.(*core.Pod)
	if !ok {
		return nil
	}
	for _, lr := range p.ranges(r) {
		fill(pod, lr)
	}
	return nil
}

// fill gives a pod the defaults of one LimitRange, and tells which.
func fill(pod *core.Pod, lr *core.LimitRange) {
	requests, limits := core.ResourceList{}, core.ResourceList{}
	for _, l := range lr.Spec.Limits {
		if l.Type == core.LimitTypeContainer {
			maps.Copy(requests, l.DefaultRequest)
			maps.Copy(limits, l.Default)
		}
	}
	var notes []string
	for _, group := range []struct {
		name string
		list []core.Container
	}{{"container", pod.Spec.Containers}, {"init container", pod.Spec.InitContainers}} {
		for i := range group.list {
			c := &group.list[i]
			if set := lacking(&c.Resources.Requests, requests); len(set) > 0 {
				notes = append(notes, strings.Join(set, ", ")+" request for "+group.name+" "+c.Name)
			}
			if set := lacking(&c.Resources.Limits, limits); len(set) > 0 {
				notes = append(notes, strings.Join(set, ", ")+" limit for "+group.name+" "+c.Name)
			}
		}
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[told] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

// lacking adds what a list lacks, and names it.
func lacking(list *core.ResourceList, from core.ResourceList) (set []string) {
	if *list == nil {
		*list = core.ResourceList{}
	}
	for _, n := range slices.Sorted(maps.Keys(from)) {
		if _, ok := (*list)[n]; !ok {
			(*list)[n] = from[n].DeepCopy()
			set = append(set, string(n))
		}
	}
	return set
}

// check refuses what is outside of a LimitRange.
func (p plugin) check(_ context.Context, r *admission.Request) error {
	for _, lr := range p.ranges(r) {
		var errs []error
		for _, l := range lr.Spec.Limits {
			switch o := r.Object.(type) {
			case *core.Pod:
				errs = append(errs, checkPod(&l, o)...)
			case *core.PersistentVolumeClaim:
				if l.Type == core.LimitTypePersistentVolumeClaim {
					errs = append(errs, checkClaim(&l, o.Spec.Resources.Requests)...)
				}
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return r.Forbid("%v", err)
		}
	}
	return nil
}

func checkPod(l *core.LimitRangeItem, pod *core.Pod) (errs []error) {
	switch l.Type {
	case core.LimitTypeContainer:
		for _, list := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for _, c := range list {
				errs = append(errs, outside(l, c.Resources.Requests, c.Resources.Limits)...)
			}
		}
	case core.LimitTypePod:
		bare := *pod // what the spec says, without what a RuntimeClass costs on top
		bare.Spec.Overhead = nil
		opt := resource.PodResourcesOptions{}
		errs = outside(l, resource.PodRequests(&bare, opt), resource.PodLimits(&bare, opt))
	}
	return errs
}
