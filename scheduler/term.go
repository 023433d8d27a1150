package scheduler

import (
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"proa.dev/client"
	"proa.dev/object"
)

// term says which pods count: those that sel takes, in some namespaces. Its answers are remembered per set of labels.
type term struct {
	key        string // the topology within which pods count
	sel        labels.Selector
	namespaces []string
	spaces     labels.Selector // of namespaces; nil: none beyond those named
	view       client.View
	memo       map[*labelSet]bool
}

// heldTerm is a term of pods that are placed, by which they keep others away or draw them near. Equal terms are one.
type heldTerm struct {
	term
	id   string
	soft bool // a preference; else required anti-affinity
	pods int  // placed ones with this term
}

// wish is a preference that a placed pod has about others: weight < 0 is to be apart.
type wish struct {
	*heldTerm
	weight int
}

func (t *term) matches(s *labelSet) bool {
	if yes, ok := t.memo[s]; ok {
		return yes
	}
	yes := t.takesNamespace(s.namespace) && t.sel.Matches(labels.Set(s.labels))
	t.memo[s] = yes
	return yes
}

func (t *term) takesNamespace(ns string) bool {
	if slices.Contains(t.namespaces, ns) {
		return true
	}
	if t.spaces == nil {
		return false
	}
	if t.spaces.Empty() {
		return true
	}
	o, ok := client.Lookup[core.Namespace](t.view, object.Key{Name: ns})
	return ok && t.spaces.Matches(labels.Set(o.Labels))
}

// on counts the pods of a node that match.
func (t *term) on(n *node) (count int32) {
	for s, k := range n.sets {
		if t.matches(s) {
			count += int32(k)
		}
	}
	return count
}

// newTerm reads an affinity term of a pod in namespace ns. A malformed selector matches nothing.
func newTerm(view client.View, pod *core.Pod, a *core.PodAffinityTerm) term {
	t := term{
		key: a.TopologyKey, namespaces: a.Namespaces, view: view, memo: map[*labelSet]bool{},
		sel: withLabelKeys(selector(a.LabelSelector), pod.Labels, a.MatchLabelKeys, a.MismatchLabelKeys),
	}
	if a.NamespaceSelector != nil {
		t.spaces = selector(a.NamespaceSelector)
	} else if len(t.namespaces) == 0 {
		t.namespaces = []string{pod.Namespace}
	}
	return t
}

func selector(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return sel
}

// withLabelKeys adds "has (not) the pod's own value" for some label keys.
func withLabelKeys(sel labels.Selector, own map[string]string, same, other []string) labels.Selector {
	add := func(keys []string, op string) {
		for _, k := range keys {
			v, ok := own[k]
			if !ok {
				continue
			}
			if reqs, err := labels.ParseToRequirements(k + op + v); err == nil {
				sel = sel.Add(reqs...)
			}
		}
	}
	add(same, "=")
	add(other, "!=")
	return sel
}

// antiTerms are the required anti-affinity terms of a pod, shared with those of other pods. The first pod with a new one changes the
// shape of the cluster: every class has to know whom it keeps away.
func (c *cluster) antiTerms(pod *core.Pod) (terms []*heldTerm) {
	a := pod.Spec.Affinity
	if a == nil || a.PodAntiAffinity == nil {
		return nil
	}
	for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		t := c.held(newTerm(c.view, pod, &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]), false)
		if !slices.Contains(terms, t) {
			terms = append(terms, t)
		}
	}
	return terms
}

// wishes are a pod's preferences about others, which count for those others, too. Who requires company prefers it a little.
func (c *cluster) wishes(pod *core.Pod) (all []wish) {
	a := pod.Spec.Affinity
	if a == nil {
		return nil
	}
	add := func(t *core.PodAffinityTerm, weight int32) {
		all = append(all, wish{c.held(newTerm(c.view, pod, t), true), int(weight)})
	}
	if p := a.PodAffinity; p != nil {
		for i := range p.RequiredDuringSchedulingIgnoredDuringExecution {
			add(&p.RequiredDuringSchedulingIgnoredDuringExecution[i], 1)
		}
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
			add(&w.PodAffinityTerm, w.Weight)
		}
	}
	if p := a.PodAntiAffinity; p != nil {
		for i := range p.PreferredDuringSchedulingIgnoredDuringExecution {
			w := &p.PreferredDuringSchedulingIgnoredDuringExecution[i]
			add(&w.PodAffinityTerm, -w.Weight)
		}
	}
	return all
}

// held is the one value for a term.
func (c *cluster) held(t term, soft bool) *heldTerm {
	spaces := "-"
	if t.spaces != nil {
		spaces = t.spaces.String()
	}
	id := strings.Join([]string{strconv.FormatBool(soft), t.key, t.sel.String(), strings.Join(t.namespaces, ","), spaces}, "\x00")
	if have := c.terms[id]; have != nil {
		return have
	}
	return &heldTerm{term: t, id: id, soft: soft}
}
