package rest

import (
	"context"
	"strings"

	authorization "k8s.io/api/authorization/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
)

// Ruler says what a user may do in a namespace: what SelfSubjectRulesReview asks. Authorizers may implement it. An error says what is
// missing in the rules.
type Ruler interface {
	RulesFor(user authn.User, namespace string) ([]rbac.PolicyRule, error)
}

func (a *API) subjectAccess(ctx context.Context, spec authorization.SubjectAccessReviewSpec) authorization.SubjectAccessReviewStatus {
	user := authn.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for k, v := range spec.Extra {
		if user.Extra == nil {
			user.Extra = map[string][]string{}
		}
		user.Extra[k] = v
	}
	return a.access(ctx, user, spec.ResourceAttributes, spec.NonResourceAttributes)
}

// access asks the authoriser. One of res and path is given.
func (a *API) access(ctx context.Context, user authn.User, res *authorization.ResourceAttributes, path *authorization.NonResourceAttributes) authorization.SubjectAccessReviewStatus {
	var problems []string
	q := authz.Attributes{User: user}
	if res != nil {
		q.ResourceRequest = true
		q.Verb, q.Group, q.Version, q.Resource, q.Sub = res.Verb, res.Group, res.Version, res.Resource, res.Subresource
		q.Namespace, q.Name = res.Namespace, res.Name
		if q.Version == "" {
			q.Version = "*"
		}
		problems = selectors(&q, res)
	} else {
		q.Verb, q.Path = path.Verb, path.Path
	}
	d, err := a.authz.Authorize(ctx, q)
	if err != nil {
		problems = append([]string{err.Error()}, problems...)
	}
	return authorization.SubjectAccessReviewStatus{Allowed: d.Allowed, Denied: d.Denied, Reason: d.Reason, EvaluationError: strings.Join(problems, "; ")}
}

// selectors reads what a review says of selectors, and says what it could not read. What is left out makes the question a wider one.
func selectors(q *authz.Attributes, res *authorization.ResourceAttributes) (problems []string) {
	say := func(field string, bad, some bool) {
		switch {
		case bad && some:
			problems = append(problems, "spec.resourceAttributes."+field+" partially ignored due to parse error")
		case bad:
			problems = append(problems, "spec.resourceAttributes."+field+" ignored due to parse error")
		}
	}
	if s := res.FieldSelector; s != nil {
		bad := false
		if s.RawSelector != "" {
			sel, err := fields.ParseSelector(s.RawSelector)
			if bad = err != nil; !bad {
				q.Fields = sel.Requirements()
			}
		}
		for _, r := range s.Requirements {
			op, ok := map[metav1.FieldSelectorOperator]selection.Operator{metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}[r.Operator]
			if !ok || len(r.Values) != 1 {
				bad = true
				continue
			}
			q.Fields = append(q.Fields, fields.Requirement{Field: r.Key, Operator: op, Value: r.Values[0]})
		}
		say("fieldSelector", bad, len(q.Fields) > 0)
	}
	if s := res.LabelSelector; s != nil {
		bad := false
		if s.RawSelector != "" {
			sel, err := labels.Parse(s.RawSelector)
			if bad = err != nil; !bad {
				q.Labels, _ = sel.Requirements()
			}
		}
		for _, r := range s.Requirements {
			op, ok := labelOperators[r.Operator]
			req, err := labels.NewRequirement(r.Key, op, r.Values)
			if !ok || err != nil {
				bad = true
				continue
			}
			q.Labels = append(q.Labels, *req)
		}
		say("labelSelector", bad, len(q.Labels) > 0)
	}
	return problems
}

var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

// rules is what user may do in namespace.
func (a *API) rules(user authn.User, namespace string) *authorization.SelfSubjectRulesReview {
	out := &authorization.SelfSubjectRulesReview{}
	st := &out.Status
	st.ResourceRules, st.NonResourceRules = []authorization.ResourceRule{}, []authorization.NonResourceRule{}
	r, ok := a.authz.(Ruler)
	if !ok {
		st.Incomplete, st.EvaluationError = true, "the authorizer does not list rules"
		return out
	}
	rules, err := r.RulesFor(user, namespace)
	if err != nil {
		st.Incomplete, st.EvaluationError = true, err.Error()
	}
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			st.ResourceRules = append(st.ResourceRules, authorization.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			st.NonResourceRules = append(st.NonResourceRules, authorization.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return out
}
