package webhook

import (
	"fmt"
	"sync"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/cel"
	calls "proa.dev/apiserver/webhook"
	expressions "proa.dev/kinds/cel"
)

// hook is one webhook of one configuration, ready for use.
type hook struct {
	configuration, name string
	id                  string // unique among all hooks
	mutating            bool

	rules     []registration.RuleWithOperations
	match     *registration.MatchPolicyType
	selectors rules.Selectors
	broken    error                 // the selectors cannot be read
	compile   func() cel.Conditions // nil: there are none

	config      calls.Config
	versions    []string
	timeout     time.Duration // 0: as long as the request has
	ignore      bool          // a webhook that cannot be asked agrees
	sideEffects *registration.SideEffectClass
	again       bool // wants to see what later hooks have changed
}

// given is what both kinds of webhooks say.
type given struct {
	name                string
	rules               []registration.RuleWithOperations
	match               *registration.MatchPolicyType
	namespaces, objects *metav1.LabelSelector
	conditions          []registration.MatchCondition
	client              registration.WebhookClientConfig
	versions            []string
	timeout             *int32
	failure             *registration.FailurePolicyType
	sideEffects         *registration.SideEffectClass
}

func newHook(configuration, id string, g given) hook {
	h := hook{configuration: configuration, name: g.name, id: id, rules: g.rules, match: g.match, versions: g.versions,
		timeout: time.Duration(ptr.Deref(g.timeout, 0)) * time.Second, sideEffects: g.sideEffects,
		ignore: ptr.Deref(g.failure, "") == registration.Ignore, config: configOf(g.client)}
	h.selectors, h.broken = rules.Select(g.namespaces, g.objects)
	if len(g.conditions) > 0 {
		h.compile = sync.OnceValue(func() cel.Conditions {
			return cel.Compile(expressions.NewCompiler(expressions.Stored), g.conditions, expressions.Vars{Authorizer: true})
		})
	}
	return h
}

func configOf(c registration.WebhookClientConfig) calls.Config {
	out := calls.Config{URL: ptr.Deref(c.URL, ""), CA: c.CABundle}
	if s := c.Service; s != nil {
		out.Service = &calls.Service{Namespace: s.Namespace, Name: s.Name, Path: ptr.Deref(s.Path, ""), Port: ptr.Deref(s.Port, 0)}
	}
	return out
}

func mutatingHooks(c *registration.MutatingWebhookConfiguration) (out []hook) {
	seen := map[string]int{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		h := newHook(c.Name, idOf(c.Name, w.Name, seen), given{name: w.Name, rules: w.Rules, match: w.MatchPolicy, namespaces: w.NamespaceSelector, objects: w.ObjectSelector,
			conditions: w.MatchConditions, client: w.ClientConfig, versions: w.AdmissionReviewVersions, timeout: w.TimeoutSeconds,
			failure: w.FailurePolicy, sideEffects: w.SideEffects})
		h.mutating, h.again = true, ptr.Deref(w.ReinvocationPolicy, "") == registration.IfNeededReinvocationPolicy
		out = append(out, h)
	}
	return out
}

func validatingHooks(c *registration.ValidatingWebhookConfiguration) (out []hook) {
	seen := map[string]int{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out = append(out, newHook(c.Name, idOf(c.Name, w.Name, seen), given{name: w.Name, rules: w.Rules, match: w.MatchPolicy, namespaces: w.NamespaceSelector, objects: w.ObjectSelector,
			conditions: w.MatchConditions, client: w.ClientConfig, versions: w.AdmissionReviewVersions, timeout: w.TimeoutSeconds,
			failure: w.FailurePolicy, sideEffects: w.SideEffects}))
	}
	return out
}

// idOf tells hooks of one name apart, which old configurations may have.
func idOf(configuration, name string, seen map[string]int) string {
	n := seen[name]
	seen[name]++
	return fmt.Sprintf("%s/%s/%d", configuration, name, n)
}
