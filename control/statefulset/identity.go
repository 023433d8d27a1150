package statefulset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/control"
	"proa.dev/object"
)

// ordinalOf is the number at the end of the pod's name, if the rest of it is the set's name; else -1.
func ordinalOf(set *apps.StatefulSet, p *core.Pod) int {
	i := strings.LastIndexByte(p.Name, '-')
	if i < 0 || p.Name[:i] != set.Name {
		return -1
	}
	n, err := strconv.ParseInt(p.Name[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != p.Name[i+1:] {
		return -1
	}
	return int(n)
}

func podName(set *apps.StatefulSet, ordinal int) string {
	return fmt.Sprintf("%s-%d", set.Name, ordinal)
}

func start(set *apps.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

// newPod is the pod with this number, made from a template of that revision.
func newPod(set *apps.StatefulSet, template *core.PodTemplateSpec, revision string, ordinal int) *core.Pod {
	p := control.NewPod(template, set)
	p.GenerateName, p.Name = "", podName(set, ordinal)
	p.Labels = identityLabels(set, p.Labels, ordinal)
	p.Labels[apps.ControllerRevisionHashLabelKey] = revision
	p.Spec.Hostname = p.Name
	p.Spec.Subdomain = set.Spec.ServiceName
	own := map[string]bool{}
	var volumes []core.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		own[t.Name] = true
		volumes = append(volumes, core.Volume{Name: t.Name, VolumeSource: core.VolumeSource{
			PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, t.Name, ordinal)},
		}})
	}
	for _, v := range p.Spec.Volumes {
		if !own[v.Name] {
			volumes = append(volumes, v)
		}
	}
	p.Spec.Volumes = volumes
	return p
}

func identityLabels(set *apps.StatefulSet, labels map[string]string, ordinal int) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[apps.StatefulSetPodNameLabel] = podName(set, ordinal)
	out[apps.PodIndexLabel] = strconv.Itoa(ordinal)
	return out
}

// identify is p with the labels that its identity asks for, or nil where it has them.
func identify(set *apps.StatefulSet, p *core.Pod) *core.Pod {
	want := identityLabels(set, p.Labels, ordinalOf(set, p))
	if maps.Equal(want, p.Labels) {
		return nil
	}
	n := object.Clone(p)
	n.Labels = want
	return n
}

func revisionOf(p *core.Pod) string { return p.Labels[apps.ControllerRevisionHashLabelKey] }

func runningAndReady(p *core.Pod) bool { return p.Status.Phase == core.PodRunning && control.Ready(p) }

func byOrdinal(set *apps.StatefulSet, pods []*core.Pod, descending bool) {
	slices.SortFunc(pods, func(a, b *core.Pod) int {
		if descending {
			a, b = b, a
		}
		return ordinalOf(set, a) - ordinalOf(set, b)
	})
}
