package podsecurity

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/object"
)

// New makes the plugin. It starts nothing.
func New(d admission.Deps) (admission.Part, error) { return made(d, &Config{}, open()), nil }

func made(d admission.Deps, c *Config, open api.Policy) admission.Part {
	p := &plugin{view: d.View, config: c, open: open,
		checks: sync.OnceValues(func() (policy.Evaluator, error) { return policy.NewEvaluator(policy.DefaultChecks(), nil) })}
	return admission.Part{Steps: []admission.Step{{Name: "PodSecurity", Check: p.check}}}
}

type plugin struct {
	view   client.View
	config *Config
	open   api.Policy                       // what holds where labels say nothing
	checks func() (policy.Evaluator, error) // made when a namespace first asks for a level
}

// open is what holds where neither labels nor settings say anything: everything is allowed.
func open() api.Policy {
	lv := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	return api.Policy{Enforce: lv, Audit: lv, Warn: lv}
}

func (p *plugin) check(ctx context.Context, r *admission.Request) error {
	if r.Op != admission.Create && r.Op != admission.Update {
		return nil
	}
	if ns, ok := r.Object.(*core.Namespace); ok {
		return p.namespace(ctx, r, ns)
	}
	meta, spec, ok := template(r.Object)
	if !ok {
		return nil
	}
	_, isPod := r.Object.(*core.Pod)
	if r.Sub != "" && (!isPod || r.Sub == "status") {
		return nil
	}
	if why := p.exempt(r.Key.Namespace, r.User.Name, spec.RuntimeClassName); why != "" {
		annotate(ctx, api.ExemptionReasonAnnotationKey, func() string { return why })
		return nil
	}
	ns, ok := client.Lookup[core.Namespace](p.view, object.Key{Name: r.Key.Namespace})
	if !ok {
		if isPod {
			return apierrors.NewInternalError(fmt.Errorf("failed to lookup namespace %q", r.Key.Namespace))
		}
		return nil
	}
	// Labels that make no sense count as the strictest that they may mean, as the library has it.
	want, errs := api.PolicyToEvaluate(ns.Labels, p.open)
	if len(errs) == 0 && want.Warn.Level == api.LevelPrivileged && want.Audit.Level == api.LevelPrivileged && (!isPod || want.Enforce.Level == api.LevelPrivileged) {
		if isPod {
			annotate(ctx, api.EnforcedPolicyAnnotationKey, want.Enforce.String)
		}
		return nil
	}
	if old, ok := r.Old.(*core.Pod); ok && !matters(r.Object.(*core.Pod), old) {
		return nil
	}
	checks, err := p.checks()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if len(errs) > 0 {
		annotate(ctx, "error", func() string { return fmt.Sprintf("Failed to parse policy: %v", errs.ToAggregate()) })
	}
	var refusal error
	if isPod {
		annotate(ctx, api.EnforcedPolicyAnnotationKey, want.Enforce.String)
		if why := judge(checks, want.Enforce, meta, spec); !why.Allowed {
			refusal = r.Forbid("violates PodSecurity %q: %s", want.Enforce.String(), why.ForbiddenDetail())
		}
	}
	if audit.Of(ctx) != nil && want.Audit.Level != api.LevelPrivileged {
		if why := judge(checks, want.Audit, meta, spec); !why.Allowed {
			annotate(ctx, api.AuditViolationsAnnotationKey, func() string { return would(want.Audit, why) })
		}
	}
	if refusal != nil {
		return refusal
	}
	if why := judge(checks, want.Warn, meta, spec); !why.Allowed {
		rest.Warn(ctx, would(want.Warn, why))
	}
	return nil
}

func would(lv api.LevelVersion, why policy.AggregateCheckResult) string {
	return fmt.Sprintf("would violate PodSecurity %q: %s", lv.String(), why.ForbiddenDetail())
}

// annotate adds an audit annotation, if somebody audits.
func annotate(ctx context.Context, key string, value func() string) {
	if audit.Of(ctx) != nil {
		audit.Annotate(ctx, api.AuditAnnotationPrefix+key, value())
	}
}

func judge(e policy.Evaluator, lv api.LevelVersion, meta *metav1.ObjectMeta, spec *core.PodSpec) policy.AggregateCheckResult {
	return policy.AggregateCheckResults(e.EvaluatePod(lv, meta, spec))
}

// template is the pod in an object, or that an object makes.
func template(o object.Object) (*metav1.ObjectMeta, *core.PodSpec, bool) {
	var t *core.PodTemplateSpec
	switch o := o.(type) {
	case *core.Pod:
		return &o.ObjectMeta, &o.Spec, true
	case *core.PodTemplate:
		t = &o.Template
	case *core.ReplicationController:
		t = o.Spec.Template
	case *apps.ReplicaSet:
		t = &o.Spec.Template
	case *apps.Deployment:
		t = &o.Spec.Template
	case *apps.DaemonSet:
		t = &o.Spec.Template
	case *apps.StatefulSet:
		t = &o.Spec.Template
	case *batch.Job:
		t = &o.Spec.Template
	case *batch.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	}
	if t == nil {
		return nil, nil, false
	}
	return &t.ObjectMeta, &t.Spec, true
}

// matters says whether an update of a pod can change how it is judged: other images, or containers that are new.
func matters(now, old *core.Pod) bool {
	for _, lists := range [][2][]core.Container{{now.Spec.Containers, old.Spec.Containers}, {now.Spec.InitContainers, old.Spec.InitContainers}} {
		if len(lists[0]) != len(lists[1]) {
			return true
		}
		for i := range lists[0] {
			if lists[0][i].Image != lists[1][i].Image {
				return true
			}
		}
	}
	had := map[string]string{}
	for _, c := range old.Spec.EphemeralContainers {
		had[c.Name] = c.Image
	}
	for _, c := range now.Spec.EphemeralContainers {
		if image, ok := had[c.Name]; !ok || image != c.Image {
			return true
		}
	}
	return false
}

// namespace wants labels that make sense, and tells of the pods that a stricter level would refuse.
func (p *plugin) namespace(ctx context.Context, r *admission.Request, ns *core.Namespace) error {
	if r.Sub != "" {
		return nil
	}
	now, errs := api.PolicyToEvaluate(ns.Labels, p.open)
	old, isUpdate := r.Old.(*core.Namespace)
	if !isUpdate {
		if len(errs) > 0 {
			return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), ns.Name, errs)
		}
		if text := p.ignored(ns.Name, ns.Labels, now); text != "" {
			rest.Warn(ctx, text)
		}
		return nil
	}
	before, oldErrs := api.PolicyToEvaluate(old.Labels, p.open)
	if len(errs) > 0 && (len(oldErrs) == 0 || !reflect.DeepEqual(errs, oldErrs)) {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), ns.Name, errs)
	}
	relaxed := now.Enforce.Version == before.Enforce.Version && api.CompareLevels(now.Enforce.Level, before.Enforce.Level) < 1
	if now.Enforce == before.Enforce || now.Enforce.Level == api.LevelPrivileged || relaxed {
		return nil
	}
	if p.exempt(ns.Name, "", nil) != "" {
		if text := p.ignored(ns.Name, ns.Labels, now); text != "" {
			rest.Warn(ctx, text)
		}
		return nil
	}
	checks, err := p.checks()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	pods := slices.DeleteFunc(client.ListOf[core.Pod](p.view, client.Select{Namespace: ns.Name}), func(pod *core.Pod) bool {
		return p.exempt("", "", pod.Spec.RuntimeClassName) != ""
	})
	for _, text := range refused(checks, ns.Name, now.Enforce, pods) {
		rest.Warn(ctx, text)
	}
	return nil
}
