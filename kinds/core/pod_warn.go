package core

import (
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/core/overlap"
)

// warnPod is about what is valid but most likely not meant. Changes of pods are by programs, which nobody's terminal shows.
func warnPod(p, old *core.Pod) []string {
	if old != nil {
		return nil
	}
	return append(WarnName("Pod's", p.Name), warnSpec(nil, &core.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec})...)
}

// WarnName warns of a name that does not fit into the hostnames of pods. whose is "Pod's" for a pod, else "".
func WarnName(whose, name string) []string {
	msgs := utilvalidation.IsDNS1123Label(name)
	if len(msgs) == 0 {
		return nil
	}
	what := "Pod names and hostnames"
	if whose != "" {
		what = "the Pod's hostname"
	}
	return []string{fmt.Sprintf("metadata.name: this is used in %s, which can result in surprising behavior; a DNS label is recommended: %v", what, msgs)}
}

// WarnPodTemplate is about what is valid in a template at p but most likely not meant.
func WarnPodTemplate(p *field.Path, t *core.PodTemplateSpec) []string { return warnSpec(p, t) }

// podWarnings are the warnings about one pod or template. p is nil for a pod.
type podWarnings struct {
	p   *field.Path
	t   *core.PodTemplateSpec
	out []string
}

func (w *podWarnings) add(p *field.Path, format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf("%s: %s", p, fmt.Sprintf(format, args...)))
}

func warnSpec(p *field.Path, t *core.PodTemplateSpec) []string {
	w := &podWarnings{p: p, t: t}
	w.annotations()
	w.volumes()
	w.selectors()
	w.lists()
	eachContainer(&t.Spec, p.Child("spec"), func(c *core.Container, at *field.Path) {
		w.bytes(at.Child("resources", "limits"), c.Resources.Limits)
		w.bytes(at.Child("resources", "requests"), c.Resources.Requests)
		w.env(at.Child("env"), c.Env)
	})
	w.bytes(p.Child("spec", "overhead"), t.Spec.Overhead)
	w.ports()
	if g := t.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(p.Child("spec", "terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	return w.out
}

func (w *podWarnings) annotations() {
	at := w.p.Child("metadata", "annotations")
	for _, d := range [][2]string{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := w.t.Annotations[d[0]]; ok {
			w.add(at.Key(d[0]), "%s", d[1])
		}
	}
	if _, ok := w.t.Annotations[core.SeccompPodAnnotationKey]; ok &&
		(w.t.Spec.SecurityContext == nil || w.t.Spec.SecurityContext.SeccompProfile == nil) {
		w.add(at.Key(core.SeccompPodAnnotationKey), `non-functional in v1.27+; use the "seccompProfile" field instead`)
	}
	eachContainer(&w.t.Spec, w.p, func(c *core.Container, _ *field.Path) {
		if k := core.SeccompContainerAnnotationKeyPrefix + c.Name; w.t.Annotations[k] != "" &&
			(c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil) {
			w.add(at.Key(k), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
		if k := core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name; w.t.Annotations[k] != "" && appArmorOf(&w.t.Spec, c) == nil {
			w.add(at.Key(k), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
}

func (w *podWarnings) volumes() {
	for i, v := range w.t.Spec.Volumes {
		w.out = append(w.out, overlap.Warn(&v)...)
		at := w.p.Child("spec", "volumes").Index(i)
		for _, d := range []struct {
			set        bool
			name, text string
		}{
			{v.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
			{v.GitRepo != nil, "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"},
			{v.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
			{v.Flocker != nil, "flocker", "deprecated in v1.22, non-functional in v1.25+"},
			{v.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Quobyte != nil, "quobyte", "deprecated in v1.22, non-functional in v1.25+"},
			{v.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
			{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
			{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
		} {
			if d.set {
				w.add(at.Child(d.name), "%s", d.text)
			}
		}
	}
}

func (w *podWarnings) selectors() {
	const matchesNone = "a null labelSelector results in matching no pod"
	for i, c := range w.t.Spec.TopologySpreadConstraints {
		if c.LabelSelector == nil {
			w.add(w.p.Child("spec", "topologySpreadConstraints").Index(i).Child("labelSelector"), matchesNone)
		}
	}
	terms := func(name string, must []core.PodAffinityTerm, should []core.WeightedPodAffinityTerm) {
		at := w.p.Child("spec", "affinity", name)
		for i, t := range must {
			if t.LabelSelector == nil {
				w.add(at.Child(required).Index(i).Child("labelSelector"), matchesNone)
			}
		}
		for i, t := range should {
			if t.PodAffinityTerm.LabelSelector == nil {
				w.add(at.Child(preferred).Index(i).Child("podAffinityTerm", "labelSelector"), matchesNone)
			}
		}
	}
	if a := w.t.Spec.Affinity; a != nil && a.PodAffinity != nil {
		terms("podAffinity", a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := w.t.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		terms("podAntiAffinity", a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (w *podWarnings) lists() {
	ips, names := map[string]bool{}, map[string]bool{}
	for i, a := range w.t.Spec.HostAliases {
		if ips[a.IP] {
			w.add(w.p.Child("spec", "hostAliases").Index(i).Child("ip"), "duplicate ip %q", a.IP)
		}
		ips[a.IP] = true
	}
	at := w.p.Child("spec", "imagePullSecrets")
	for i, s := range w.t.Spec.ImagePullSecrets {
		if names[s.Name] {
			w.add(at.Index(i).Child("name"), "duplicate name %q", s.Name)
		}
		names[s.Name] = true
	}
	for i, s := range w.t.Spec.ImagePullSecrets {
		if s.Name == "" {
			w.add(at.Index(i).Child("name"), "invalid empty name %q", s.Name)
		}
	}
}

// bytes warns of a memory of "100m": a tenth of a byte.
func (w *podWarnings) bytes(p *field.Path, l core.ResourceList) {
	for _, n := range []core.ResourceName{core.ResourceMemory, core.ResourceEphemeralStorage} {
		if q, ok := l[n]; ok && fractional(q) {
			w.add(p.Key(string(n)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

func fractional(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

func (w *podWarnings) env(p *field.Path, vars []core.EnvVar) {
	seen := map[string]bool{}
	for i, v := range vars {
		ref := "$(" + v.Name + ")" // a variable may be defined by its own older value
		if seen[v.Name] && (v.ValueFrom != nil || v.Value == ref || !strings.Contains(v.Value, ref)) {
			w.add(p.Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
		}
		seen[v.Name] = true
	}
}

func (w *podWarnings) ports() {
	type used struct {
		at   *field.Path
		port core.ContainerPort
	}
	var all []used
	names := map[string]*field.Path{}
	eachContainer(&w.t.Spec, w.p.Child("spec"), func(c *core.Container, p *field.Path) {
		for i, port := range c.Ports {
			at := p.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				w.add(at, "hostIP set without hostPort: %+v", port)
			}
			for _, o := range all {
				oneAny := (port.HostIP == "") != (o.port.HostIP == "")
				switch {
				case port.ContainerPort != o.port.ContainerPort || port.Protocol != o.port.Protocol:
				case port.HostIP == o.port.HostIP && port.HostPort == o.port.HostPort:
					w.add(at, "duplicate port definition with %s", o.at)
				case port.HostPort == 0 || o.port.HostPort == 0:
					w.add(at, "overlapping port definition with %s", o.at)
				case port.HostPort == o.port.HostPort && oneAny:
					w.add(at, "dangerously ambiguous port definition with %s", o.at)
				}
			}
			all = append(all, used{at, port})
		}
	})
	for _, u := range all {
		if u.port.Name == "" {
			continue
		}
		if first := names[u.port.Name]; first != nil {
			w.add(u.at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", u.port.Name, first, first)
		} else {
			names[u.port.Name] = u.at
		}
	}
}
