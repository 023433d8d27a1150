package policy

import (
	"context"
	"errors"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/cel"
	"proa.dev/object"
)

// invocation is one run of a mutating policy: for one binding and one value of its parameters.
type invocation struct {
	policy  *policy[*mutator]
	binding *binding
	match   rules.Match
	params  object.Object // nil: none
}

func (i *invocation) key() key {
	k := key{policy: i.policy.name, binding: i.binding.name}
	if i.params != nil {
		k.namespace, k.name = i.params.GetNamespace(), i.params.GetName()
	}
	return k
}

// problem is what went wrong with a policy.
type problem struct {
	message string
	reason  metav1.StatusReason // "": Forbidden
}

// changes is admission of one request by mutating policies.
type changes struct {
	plugin   *plugin
	request  *admission.Request
	history  *history
	problems []problem
}

// admit lets every mutating policy change the request.
func (p *plugin) admit(ctx context.Context, r *admission.Request) error {
	i := p.index()
	if len(i.mutating) == 0 || r.Op == admission.Delete || exempt(r) {
		return nil
	}
	c := &changes{plugin: p, request: r}
	runs, err := c.collect(ctx, i.mutating)
	if err != nil {
		return err
	}
	if err := c.run(ctx, runs); err != nil {
		return err
	}
	return c.refusal()
}

// collect is the runs that the request asks for. All are known before the first has changed anything.
func (c *changes) collect(ctx context.Context, policies []policy[*mutator]) (out []invocation, err error) {
	for n := range policies {
		k := &policies[n]
		match, ok, err := k.match.find(c.request, c.plugin.view)
		if err != nil {
			c.fail(k, nil, misconfigured(nil, err), "")
		}
		if !ok {
			continue
		}
		kind, err := c.plugin.findKind(k.params)
		if err != nil {
			c.fail(k, nil, misconfigured(nil, err), "")
			continue
		}
		for m := range k.bindings {
			b := &k.bindings[m]
			_, ok, err := b.match.find(c.request, c.plugin.view)
			if err == nil && !ok {
				continue
			}
			var params []object.Object
			if err == nil {
				params, err = c.plugin.collect(ctx, kind, b.params, c.request)
			}
			if err != nil {
				c.fail(k, b, misconfigured(b, err), "")
				continue
			}
			for _, o := range params {
				out = append(out, invocation{k, b, match, o})
			}
		}
	}
	return out, nil
}

// remembered is what the first run of the steps leaves for the second.
type remembered struct {
	history
	last object.Object // what the policies made of the object
}

// run runs policies one after the other.
func (c *changes) run(ctx context.Context, runs []invocation) error {
	if len(runs) == 0 {
		return nil
	}
	r := c.request
	kept, _ := r.Recall(mutatingStep).(*remembered)
	if kept == nil {
		kept = &remembered{history: history{map[key]bool{}, map[key]bool{}}}
		r.Remember(mutatingStep, kept)
	}
	c.history = &kept.history
	if r.Again && !equality.Semantic.DeepEqual(kept.last, r.Object) {
		c.history.changed()
	}
	defer func() {
		if r.Object != nil {
			kept.last = r.Object.DeepCopyObject().(object.Object)
		}
	}()
	namespace, err := c.plugin.namespace(r)
	if err != nil {
		return err
	}
	before := r.Object
	for i := range runs {
		if err := c.runOne(ctx, &runs[i], namespace); err != nil {
			return err
		}
	}
	if r.Object != before {
		c.history.changed()
		r.RunAgain()
	}
	return nil
}

// runOne runs one policy, if its conditions hold and it has not run already. The error ends the request.
func (c *changes) runOne(ctx context.Context, i *invocation, namespace *core.Namespace) error {
	r, m := c.request, i.policy.program()
	s, err := cel.NewSubject(ctx, r, i.match, c.plugin.deps.Authz)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	params := valueOf(i.params)
	matched, err := m.conditions.Match(ctx, s.Input(params, nil))
	if err != nil {
		c.fail(i.policy, i.binding, err, metav1.StatusReasonInvalid)
	}
	if !matched {
		return nil
	}
	if r.Again && !c.history.pending[i.key()] {
		return nil
	}
	before := r.Object
	for n := range m.changes {
		if s.Object == nil {
			break
		}
		if err := c.change(ctx, i, &m.changes[n], s, namespace); err != nil {
			var status *apierrors.StatusError
			if errors.As(err, &status) {
				return status
			}
			c.fail(i.policy, i.binding, err, metav1.StatusReasonInvalid)
			continue
		}
		if s, err = cel.NewSubject(ctx, r, i.match, c.plugin.deps.Authz); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	if r.Object != before && !equality.Semantic.DeepEqual(before, r.Object) {
		c.history.changed()
		r.RunAgain()
	}
	if m.again {
		c.history.ran[i.key()] = true
	}
	return nil
}

// change makes one change.
func (c *changes) change(ctx context.Context, i *invocation, what *change, s *cel.Subject, namespace *core.Namespace) error {
	made, err := i.policy.program().evaluate(ctx, what, s, valueOf(i.params), namespace)
	if err != nil {
		return err
	}
	patch := jsonPatch
	if what.apply {
		patch = c.apply
	}
	out, err := patch(s.Object, made)
	if err != nil {
		return err
	}
	return c.request.Replace(ctx, out, i.match.Kind)
}

// fail notes what went wrong with a policy that does not ignore it.
func (c *changes) fail(k *policy[*mutator], b *binding, err error, reason metav1.StatusReason) {
	if k.ignore {
		return
	}
	name := ""
	if b != nil {
		name = b.name
	}
	c.problems = append(c.problems, problem{words(k.name, name, err), reason})
}

// refusal is the error for what went wrong. It has the code of a 403 whatever its reason, as Kubernetes' has.
func (c *changes) refusal() error {
	if len(c.problems) == 0 {
		return nil
	}
	err := c.request.Forbid("admission request denied by policy")
	s := &err.ErrStatus
	s.Message = c.problems[0].message
	if c.problems[0].reason != "" {
		s.Reason = c.problems[0].reason
	}
	for _, p := range c.problems {
		s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Message: p.message})
	}
	return err
}
