package podwarn

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/core/overlap"
)

// Pod is about a pod. Changes of pods are by programs, which nobody's terminal shows.
func Pod(p, old *core.Pod) []string {
	if old != nil {
		return nil
	}
	return append(Name("Pod's", p.Name), spec(nil, &core.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec})...)
}

// Name warns of a name that does not fit into the hostnames of pods. whose is "Pod's" for a pod, else "".
func Name(whose, name string) []string {
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

// Template is about a template at p.
func Template(p *field.Path, t *core.PodTemplateSpec) []string { return spec(p, t) }

// Claim is about the spec of a claim, whose resources stand below p.
func Claim(p *field.Path, s *core.PersistentVolumeClaimSpec) (out []string) {
	for _, l := range []struct {
		name string
		list core.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		if q := l.list[core.ResourceStorage]; fractional(q) {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", p.Child("resources", l.name).Key("storage"), q.String()))
		}
	}
	return out
}

// Volume is about the spec of a persistent volume.
func Volume(s *core.PersistentVolumeSpec, annotations map[string]string) []string {
	w := &podWarnings{}
	if _, ok := annotations[core.BetaStorageClassAnnotation]; ok {
		w.add(field.NewPath("metadata", "annotations").Key(core.BetaStorageClassAnnotation), `deprecated since v1.8; use "storageClassName" attribute instead`)
	}
	p := field.NewPath("spec")
	if s.PersistentVolumeReclaimPolicy == core.PersistentVolumeReclaimRecycle {
		w.add(p.Child("persistentVolumeReclaimPolicy"), "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := s.NodeAffinity; a != nil && a.Required != nil {
		for i := range a.Required.NodeSelectorTerms {
			w.term(p.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i), &a.Required.NodeSelectorTerms[i], false)
		}
	}
	for _, d := range []struct {
		set        bool
		name, text string
	}{
		{s.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
		{s.PhotonPersistentDisk != nil, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"},
		{s.ScaleIO != nil, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"},
		{s.StorageOS != nil, "storageOS", "deprecated in v1.22, non-functional in v1.25+"},
		{s.Glusterfs != nil, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"},
		{s.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
	} {
		if d.set {
			w.add(p.Child(d.name), "%s", d.text)
		}
	}
	return w.out
}

// podWarnings are the warnings about one pod or template. p is nil for a pod.
type podWarnings struct {
	p   *field.Path
	t   *core.PodTemplateSpec
	out []string
}

func (w *podWarnings) add(p *field.Path, format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf("%s: %s", p, fmt.Sprintf(format, args...)))
}

func spec(p *field.Path, t *core.PodTemplateSpec) []string {
	w := &podWarnings{p: p, t: t}
	w.labels()
	w.annotations()
	w.volumes()
	w.lists()
	w.bytes(p.Child("spec", "overhead"), t.Spec.Overhead)
	if _, ok := t.Annotations[core.SeccompPodAnnotationKey]; ok && (t.Spec.SecurityContext == nil || t.Spec.SecurityContext.SeccompProfile == nil) {
		w.add(p.Child("metadata", "annotations").Key(core.SeccompPodAnnotationKey), seccompIsField)
	}
	eachContainer(&t.Spec, p.Child("spec"), func(c *core.Container, at *field.Path) {
		w.security(c)
		for _, n := range []core.ResourceName{core.ResourceMemory, core.ResourceEphemeralStorage} {
			w.wholeBytes(at.Child("resources", "limits"), c.Resources.Limits, n)
			w.wholeBytes(at.Child("resources", "requests"), c.Resources.Requests, n)
		}
		w.env(at.Child("env"), c.Env)
	})
	w.ports()
	if g := t.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(p.Child("spec", "terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.selectors()
	w.addresses()
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
}

const seccompIsField = `non-functional in v1.27+; use the "seccompProfile" field instead`

// security warns of annotations that fields have replaced.
func (w *podWarnings) security(c *core.Container) {
	at := w.p.Child("metadata", "annotations")
	if k := core.SeccompContainerAnnotationKeyPrefix + c.Name; c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil {
		if _, ok := w.t.Annotations[k]; ok {
			w.add(at.Key(k), seccompIsField)
		}
	}
	k := core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
	v, ok := w.t.Annotations[k]
	if !ok {
		return
	}
	said := AppArmorOf(v)
	var pod, own *core.AppArmorProfile
	if s := w.t.Spec.SecurityContext; s != nil {
		pod = s.AppArmorProfile
	}
	if c.SecurityContext != nil {
		own = c.SecurityContext.AppArmorProfile
	}
	byNow := w.p == nil && own != nil && equality.Semantic.DeepEqual(said, own) // the field of a pod may have been made of the annotation
	if (own == nil || byNow) && (pod == nil || !equality.Semantic.DeepEqual(said, pod)) {
		w.add(at.Key(k), `deprecated since v1.30; use the "appArmorProfile" field instead`)
	}
}

// AppArmorOf is the profile that an annotation means; nil if it means none.
func AppArmorOf(annotation string) *core.AppArmorProfile {
	switch local, is := strings.CutPrefix(annotation, core.DeprecatedAppArmorBetaProfileNamePrefix); {
	case annotation == core.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeUnconfined}
	case annotation == core.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeRuntimeDefault}
	case is && local != "":
		return &core.AppArmorProfile{Type: core.AppArmorProfileTypeLocalhost, LocalhostProfile: &local}
	}
	return nil
}

// labels warns of nodes that are chosen by labels with newer names.
func (w *podWarnings) labels() {
	at := w.p.Child("spec")
	for _, k := range slices.Sorted(maps.Keys(w.t.Spec.NodeSelector)) {
		if msg := NewerLabel(k); msg != "" {
			w.add(at.Child("nodeSelector").Key(k), "%s", msg)
		}
	}
	if a := w.t.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		at := at.Child("affinity", "nodeAffinity")
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i := range r.NodeSelectorTerms {
				w.term(at.Child(required, "nodeSelectorTerms").Index(i), &r.NodeSelectorTerms[i], false)
			}
		}
		for i := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			w.term(at.Child(preferred).Index(i).Child("preference"), &a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true)
		}
	}
	at = at.Child("topologySpreadConstraints")
	for i, c := range w.t.Spec.TopologySpreadConstraints {
		if msg := NewerLabel(c.TopologyKey); msg != "" {
			w.add(at.Index(i).Child("topologyKey"), "%s is %s", c.TopologyKey, msg)
		}
		if c.LabelSelector == nil {
			w.add(at.Index(i).Child("labelSelector"), matchesNone)
		}
	}
}

// term warns of labels with newer names, and of values that no label has where that is no error.
func (w *podWarnings) term(p *field.Path, t *core.NodeSelectorTerm, values bool) {
	for i, r := range t.MatchExpressions {
		at := p.Child("matchExpressions").Index(i)
		if msg := NewerLabel(r.Key); msg != "" {
			w.add(at.Child("key"), "%s is %s", r.Key, msg)
		}
		if !values {
			continue
		}
		for j, v := range r.Values {
			for _, msg := range utilvalidation.IsValidLabelValue(v) {
				w.add(at.Child("values").Index(j), "%s is invalid, %s", v, msg)
			}
		}
	}
}

// NewerLabel says what to use in place of an old label of nodes; "" if it is none.
func NewerLabel(key string) string {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case core.LabelFailureDomainBetaRegion:
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case core.LabelFailureDomainBetaZone:
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case core.LabelInstanceType:
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

func (w *podWarnings) volumes() {
	for i, v := range w.t.Spec.Volumes {
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
			{v.Ephemeral != nil, "ephemeral", ""},
			{v.CephFS != nil, "cephfs", "deprecated in v1.28, non-functional in v1.31+"},
			{v.RBD != nil, "rbd", "deprecated in v1.28, non-functional in v1.31+"},
		} {
			switch {
			case !d.set:
			case d.text == "":
				if t := v.Ephemeral.VolumeClaimTemplate; t != nil {
					w.out = append(w.out, Claim(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &t.Spec)...)
				}
			default:
				w.add(at.Child(d.name), "%s", d.text)
			}
		}
	}
	for i := range w.t.Spec.Volumes {
		w.out = append(w.out, overlap.Warn(&w.t.Spec.Volumes[i])...)
	}
}

const (
	matchesNone = "a null labelSelector results in matching no pod"
	required    = "requiredDuringSchedulingIgnoredDuringExecution"
	preferred   = "preferredDuringSchedulingIgnoredDuringExecution"
)

func (w *podWarnings) selectors() {
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
		w.wholeBytes(p, l, n)
	}
}

func (w *podWarnings) wholeBytes(p *field.Path, l core.ResourceList, n core.ResourceName) {
	if q, ok := l[n]; ok && fractional(q) {
		w.add(p.Key(string(n)), "fractional byte value %q is invalid, must be an integer", q.String())
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

// addresses warns of ways to write an address that newer rules refuse.
func (w *podWarnings) addresses() {
	if d := w.t.Spec.DNSConfig; d != nil {
		for i, ip := range d.Nameservers {
			w.out = append(w.out, utilvalidation.GetWarningsForIP(w.p.Child("spec", "dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	for i, a := range w.t.Spec.HostAliases {
		w.out = append(w.out, utilvalidation.GetWarningsForIP(w.p.Child("spec", "hostAliases").Index(i).Child("ip"), a.IP)...)
	}
}

// eachContainer calls f for the init containers, the containers and the ephemeral containers of a pod whose spec stands at p.
func eachContainer(s *core.PodSpec, p *field.Path, f func(c *core.Container, at *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], p.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], p.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f((*core.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), p.Child("ephemeralContainers").Index(i))
	}
}
