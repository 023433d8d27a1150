package policy

import (
	"fmt"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/client"
)

// index is the policies that have bindings, in the order of their names.
type index struct {
	validating []policy[*checker]
	mutating   []policy[*mutator]
}

// policy is a policy with its bindings, of which there is at least one.
type policy[P any] struct {
	name     string
	match    matcher
	params   *registration.ParamKind
	ignore   bool     // what goes wrong is as if the policy were not there
	program  func() P // what it does, compiled at the first call
	bindings []binding
}

// binding says where a policy has an effect.
type binding struct {
	name    string
	match   matcher // of nothing: everywhere
	params  *registration.ParamRef
	actions []registration.ValidationAction // of validating policies
}

// generation names what a policy does: its spec at one time.
type generation struct {
	uid types.UID
	n   int64
}

// programs are the compiled policies by their generation, so that a policy is compiled once although the index is made often.
type programs map[generation]any

// index makes the index of what view has, and forgets the programs of policies that are gone.
func (old *programs) index(view client.View) *index {
	kept := programs{}
	i := &index{
		validating: collect(view, *old, kept, validating),
		mutating:   collect(view, *old, kept, mutating),
	}
	*old = kept
	return i
}

// form is how policies and bindings of one kind are read.
type form[K, B, P any] struct {
	generation func(K) generation
	policy     func(K) policy[P] // without program and bindings
	compile    func(K) func() P
	list       func(client.View) []K
	bindings   func(client.View) []B
	binding    func(B) (policy string, b binding)
}

func collect[K, B, P any](view client.View, old, kept programs, f form[K, B, P]) (out []policy[P]) {
	bound := map[string][]binding{}
	for _, b := range f.bindings(view) {
		name, b := f.binding(b)
		bound[name] = append(bound[name], b)
	}
	if len(bound) == 0 {
		return nil
	}
	for _, k := range f.list(view) {
		p, g := f.policy(k), f.generation(k)
		if p.bindings = bound[p.name]; p.bindings == nil {
			continue
		}
		var ok bool
		if p.program, ok = old[g].(func() P); !ok {
			p.program = f.compile(k)
		}
		kept[g] = p.program
		out = append(out, p)
	}
	return out
}

// matcher says what requests a policy or a binding is about.
type matcher struct {
	what *registration.MatchResources
	sel  rules.Selectors
	err  error
}

func newMatcher(m *registration.MatchResources) matcher {
	out := matcher{what: m}
	if m == nil {
		return out
	}
	switch { // the defaults of the kinds fill them in
	case m.NamespaceSelector == nil:
		out.err = fmt.Errorf("a nil namespace selector was passed, please ensure selectors are initialized properly")
	case m.ObjectSelector == nil:
		out.err = fmt.Errorf("a nil object selector was passed, please ensure selectors are initialized properly")
	default:
		out.sel, out.err = rules.Select(m.NamespaceSelector, m.ObjectSelector)
	}
	return out
}

// find is how the request is matched; false: it is not.
func (m matcher) find(r *admission.Request, view client.View) (rules.Match, bool, error) {
	asked := rules.Match{Resource: r.Served.GroupVersionResource, Kind: r.Body}
	if m.what == nil {
		return asked, true, nil
	}
	if m.err != nil {
		return asked, false, m.err
	}
	// The rules first: they are cheaper than selectors, and most requests are about something else.
	found, ok := asked, true
	if len(m.what.ResourceRules) > 0 {
		found, ok = rules.FindNamed(r, m.what.ResourceRules, m.what.MatchPolicy)
	}
	if !ok || !m.sel.MatchesObject(r) {
		return asked, false, nil
	}
	if _, excluded := rules.FindNamed(r, m.what.ExcludeResourceRules, m.what.MatchPolicy); excluded {
		return asked, false, nil
	}
	if in, err := m.sel.MatchesNamespace(r, view); err != nil {
		return asked, false, err
	} else if !in {
		return asked, false, nil
	}
	return found, true, nil
}

var validating = form[*registration.ValidatingAdmissionPolicy, *registration.ValidatingAdmissionPolicyBinding, *checker]{
	generation: func(k *registration.ValidatingAdmissionPolicy) generation { return generation{k.UID, k.Generation} },
	policy: func(k *registration.ValidatingAdmissionPolicy) policy[*checker] {
		return policy[*checker]{name: k.Name, match: newMatcher(k.Spec.MatchConstraints), params: k.Spec.ParamKind,
			ignore: ptr.Deref(k.Spec.FailurePolicy, "") == registration.Ignore}
	},
	compile: compileChecker,
	list: func(v client.View) []*registration.ValidatingAdmissionPolicy {
		return client.ListOf[registration.ValidatingAdmissionPolicy](v, client.Select{})
	},
	bindings: func(v client.View) []*registration.ValidatingAdmissionPolicyBinding {
		return client.ListOf[registration.ValidatingAdmissionPolicyBinding](v, client.Select{})
	},
	binding: func(b *registration.ValidatingAdmissionPolicyBinding) (string, binding) {
		return b.Spec.PolicyName, binding{name: b.Name, match: newMatcher(b.Spec.MatchResources), params: b.Spec.ParamRef, actions: b.Spec.ValidationActions}
	},
}

var mutating = form[*registration.MutatingAdmissionPolicy, *registration.MutatingAdmissionPolicyBinding, *mutator]{
	generation: func(k *registration.MutatingAdmissionPolicy) generation { return generation{k.UID, k.Generation} },
	policy: func(k *registration.MutatingAdmissionPolicy) policy[*mutator] {
		return policy[*mutator]{name: k.Name, match: newMatcher(k.Spec.MatchConstraints), params: k.Spec.ParamKind,
			ignore: ptr.Deref(k.Spec.FailurePolicy, "") == registration.Ignore}
	},
	compile: compileMutator,
	list: func(v client.View) []*registration.MutatingAdmissionPolicy {
		return client.ListOf[registration.MutatingAdmissionPolicy](v, client.Select{})
	},
	bindings: func(v client.View) []*registration.MutatingAdmissionPolicyBinding {
		return client.ListOf[registration.MutatingAdmissionPolicyBinding](v, client.Select{})
	},
	binding: func(b *registration.MutatingAdmissionPolicyBinding) (string, binding) {
		return b.Spec.PolicyName, binding{name: b.Name, match: newMatcher(b.Spec.MatchResources), params: b.Spec.ParamRef}
	},
}
