package core

import (
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
	"proa.dev/kinds/core/gated"
	"proa.dev/kinds/core/podtable"
	"proa.dev/kinds/core/podwarn"
)

// Pod is v1 Pod: containers that share a network and a fate.
var Pod = kinds.Def[core.Pod, *core.Pod]{
	Path:       "v1/pods",
	Short:      []string{"po"},
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Subs: []kinds.Sub{
		{Name: "attach", GVK: "v1/PodAttachOptions", Verbs: []string{"create", "get"}, Connecting: true},
		{Name: "binding", GVK: "v1/Binding", Verbs: []string{"create"}},
		{Name: "ephemeralcontainers", GVK: "v1/Pod", Verbs: []string{"get", "patch", "update"}, Validate: validateEphemeralContainers},
		{Name: "eviction", GVK: "policy/v1/Eviction", Verbs: []string{"create"}},
		{Name: "exec", GVK: "v1/PodExecOptions", Verbs: []string{"create", "get"}, Connecting: true},
		{Name: "log", GVK: "v1/Pod", Verbs: []string{"get"}, Connecting: true},
		{Name: "portforward", GVK: "v1/PodPortForwardOptions", Verbs: []string{"create", "get"}, Connecting: true},
		{Name: "proxy", GVK: "v1/PodProxyOptions", Verbs: proxyVerbs, Connecting: true},
		{Name: "resize", GVK: "v1/Pod", Verbs: []string{"get", "patch", "update"}, Validate: validateResize},
	},
	Default:       defaultPod,
	Prepare:       preparePod,
	PrepareStatus: preparePodStatus,
	Validate:      validatePod, ValidateCreate: validateNewPod, ValidateUpdate: validatePodUpdate, ValidateStatus: validatePodStatus,
	Warn:    podwarn.Pod,
	Fields:  podFields,
	Columns: podtable.Columns,
	Row:     podtable.Row,
	Grace:   podGrace,
}

func defaultPod(p *core.Pod) {
	DefaultPodSpec(&p.Spec)
	if g := p.Spec.TerminationGracePeriodSeconds; *g < 0 {
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	if one := p.Status.PodIP; one != "" && (len(p.Status.PodIPs) == 0 || p.Status.PodIPs[0].IP != one) {
		p.Status.PodIPs = []core.PodIP{{IP: one}} // clients that know of one only have the say
	}
	if len(p.Status.PodIPs) > 0 {
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	for _, list := range [][]core.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			requestLimits(&list[i].Resources)
			if p.Spec.HostNetwork {
				defaultHostPorts(list[i].Ports)
			}
		}
	}
	defaultPodLevelLimits(p)
	defaultPodLevelRequests(p)
	orPtr(&p.Spec.EnableServiceLinks, core.DefaultEnableServiceLinks)
}

// requestLimits requests what is limited, where no request says otherwise. Pods only: a template stays as written.
func requestLimits(r *core.ResourceRequirements) {
	if r.Limits != nil && r.Requests == nil {
		r.Requests = core.ResourceList{}
	}
	for name, q := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = q.DeepCopy()
		}
	}
}

func defaultHostPorts(ports []core.ContainerPort) {
	for i := range ports {
		orElse(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

func preparePod(p, old *core.Pod) {
	gated.Prepare(func(p *core.Pod) *core.PodSpec { return &p.Spec })(p, old)
	if old != nil {
		return
	}
	class := p.Status.QOSClass
	orElse(&class, QOS(p))
	p.Status = core.PodStatus{Phase: core.PodPending, QOSClass: class}
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []core.PodCondition{{
			Type: core.PodScheduled, Status: core.ConditionFalse,
			LastTransitionTime: p.CreationTimestamp,
			Reason:             core.PodReasonSchedulingGated, Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
	p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName // which admission may just have filled
	mergeMatchLabelKeys(p)
	appArmorFields(p)
}

// appArmorFields says by fields what older clients say by annotations.
func appArmorFields(p *core.Pod) {
	if p.Spec.OS != nil && p.Spec.OS.Name == core.Windows {
		return
	}
	eachContainer(&p.Spec, nil, func(c *core.Container, _ *field.Path) {
		v, ok := p.Annotations[core.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		if !ok || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		profile := podwarn.AppArmorOf(v)
		if profile == nil || len(check.Run(func(e *check.Errors) { (&podCheck{Errors: e}).appArmor(nil, profile) })) > 0 ||
			equality.Semantic.DeepEqual(profile, appArmorOf(&p.Spec, c)) {
			return
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &core.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
	})
}

// preparePodStatus keeps what no kubelet may take back: owners, the QoS class, and how far generations were observed.
func preparePodStatus(p, old *core.Pod) {
	p.DeletionTimestamp = old.DeletionTimestamp
	p.OwnerReferences = old.OwnerReferences
	gated.DropStatus(&p.Status, &old.Status)
	orElse(&p.Status.QOSClass, old.Status.QOSClass)
	orElse(&p.Status.ObservedGeneration, old.Status.ObservedGeneration)
	seen := map[core.PodConditionType]int64{}
	for _, c := range old.Status.Conditions {
		seen[c.Type] = c.ObservedGeneration
	}
	for i := range p.Status.Conditions {
		orElse(&p.Status.Conditions[i].ObservedGeneration, seen[p.Status.Conditions[i].Type])
	}
}

// podGrace is what the client asked for, else the pod's own period; a pod that no node runs (not yet or no longer) goes at once.
func podGrace(p *core.Pod, opt *metav1.DeleteOptions) int64 {
	var s int64
	switch {
	case p.Spec.NodeName == "", p.Status.Phase == core.PodFailed, p.Status.Phase == core.PodSucceeded:
		return 0
	case opt != nil && opt.GracePeriodSeconds != nil:
		s = *opt.GracePeriodSeconds
	case p.Spec.TerminationGracePeriodSeconds != nil:
		s = *p.Spec.TerminationGracePeriodSeconds
	}
	if s < 0 {
		return 1
	}
	return s
}

func podFields(p *core.Pod) map[string]string {
	m := map[string]string{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         "false",
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             "",
		"status.podIPs":            "", // known, and matches nothing
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
	if len(p.Status.PodIPs) > 0 {
		m["status.podIP"] = p.Status.PodIPs[0].IP
	}
	if p.Spec.HostNetwork {
		m["spec.hostNetwork"] = "true"
	}
	return m
}
