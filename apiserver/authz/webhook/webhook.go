package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/selection"

	"proa.dev/apiserver/authz"
	kcel "proa.dev/kinds/cel"
)

// Poster asks the webhook.
type Poster interface {
	Post(ctx context.Context, in, out any) error
}

const maxKnown = 8192

// Webhook decides as a webhook says.
type Webhook struct {
	name       string
	conf       Hook
	hook       Poster
	conditions []cel.Program

	mu    sync.Mutex // guards known
	known map[string]known
}

type known struct {
	decision authz.Decision
	until    time.Time
}

// New makes an authorizer that asks hook. Errors name the condition that is wrong.
func New(name string, conf Hook, hook Poster) (*Webhook, error) {
	w := &Webhook{name: name, conf: conf, hook: hook, known: map[string]known{}}
	for i, c := range conf.Conditions {
		p, err := condition(c.Expression)
		if err != nil {
			return nil, fmt.Errorf("%s: matchConditions[%d].expression: %w", name, i, err)
		}
		w.conditions = append(w.conditions, p)
	}
	return w, nil
}

// condition compiles an expression about the review that is to be sent.
func condition(text string) (cel.Program, error) {
	env, err := kcel.Plain(cel.Variable("request", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		return nil, err
	}
	ast, iss := env.Compile(text)
	if iss.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %w", iss.Err())
	}
	if !ast.OutputType().IsExactType(cel.BoolType) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, errors.New("must evaluate to bool")
	}
	return env.Program(ast)
}

// Name is that of the configuration.
func (w *Webhook) Name() string { return w.name }

// Authorize implements authz.Authorizer. It has no opinion on what the conditions leave out.
func (w *Webhook) Authorize(ctx context.Context, a authz.Attributes) (authz.Decision, error) {
	r := &authorization.SubjectAccessReview{Spec: spec(a)}
	r.APIVersion, r.Kind = authorization.SchemeGroupVersion.String(), "SubjectAccessReview"
	ask, err := w.matches(ctx, &r.Spec)
	if err != nil {
		return w.failed(err)
	}
	if !ask {
		return authz.Decision{}, nil
	}
	key, err := json.Marshal(r.Spec)
	if err != nil {
		return w.failed(err)
	}
	if d, ok := w.find(string(key)); ok {
		return d, nil
	}
	limit, cancel := context.WithTimeout(ctx, w.conf.Timeout)
	defer cancel()
	var answer authorization.SubjectAccessReview
	if err := w.hook.Post(limit, r, &answer); err != nil {
		return w.failed(err)
	}
	st := answer.Status
	if st.Denied && st.Allowed {
		return w.failed(errors.New("webhook subject access review returned both allow and deny response"))
	}
	d := authz.Decision{Allowed: st.Allowed, Denied: st.Denied, Reason: st.Reason}
	w.keep(string(key), d)
	if st.EvaluationError != "" {
		return d, errors.New(st.EvaluationError)
	}
	return d, nil
}

// failed is what is decided where the webhook cannot be asked.
func (w *Webhook) failed(err error) (authz.Decision, error) {
	return authz.Decision{Denied: w.conf.FailurePolicy == "Deny"}, err
}

// matches says whether the webhook is to be asked. A condition that is not fulfilled goes before one that fails.
func (w *Webhook) matches(ctx context.Context, s *authorization.SubjectAccessReviewSpec) (bool, error) {
	if len(w.conditions) == 0 {
		return true, nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return false, err
	}
	var request map[string]any
	if err := json.Unmarshal(text, &request); err != nil {
		return false, err
	}
	var errs []error
	for _, p := range w.conditions {
		v, _, err := p.ContextEval(ctx, map[string]any{"request": request})
		if err != nil {
			errs = append(errs, err)
		} else if v != types.True {
			return false, nil
		}
	}
	return len(errs) == 0, errors.Join(errs...)
}

func (w *Webhook) find(key string) (authz.Decision, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.known[key]
	return k.decision, ok && time.Now().Before(k.until)
}

func (w *Webhook) keep(key string, d authz.Decision) {
	ttl, on := w.conf.UnauthorizedTTL, w.conf.CacheUnauthorizedRequests
	if d.Allowed {
		ttl, on = w.conf.AuthorizedTTL, w.conf.CacheAuthorizedRequests
	}
	if on != nil && !*on {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) >= maxKnown {
		clear(w.known)
	}
	w.known[key] = known{d, time.Now().Add(ttl)}
}

// spec is the question about a.
func spec(a authz.Attributes) authorization.SubjectAccessReviewSpec {
	s := authorization.SubjectAccessReviewSpec{User: a.User.Name, UID: a.User.UID, Groups: a.User.Groups}
	for k, v := range a.User.Extra {
		if s.Extra == nil {
			s.Extra = map[string]authorization.ExtraValue{}
		}
		s.Extra[k] = v
	}
	if !a.ResourceRequest {
		s.NonResourceAttributes = &authorization.NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return s
	}
	s.ResourceAttributes = &authorization.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version,
		Resource: a.Resource, Subresource: a.Sub, Name: a.Name}
	for _, r := range a.Fields {
		op := metav1.FieldSelectorOpIn
		if r.Operator == selection.NotEquals {
			op = metav1.FieldSelectorOpNotIn
		}
		if s.ResourceAttributes.FieldSelector == nil {
			s.ResourceAttributes.FieldSelector = &authorization.FieldSelectorAttributes{}
		}
		f := s.ResourceAttributes.FieldSelector
		f.Requirements = append(f.Requirements, metav1.FieldSelectorRequirement{Key: r.Field, Operator: op, Values: []string{r.Value}})
	}
	for _, r := range a.Labels {
		op, ok := labelOperators[r.Operator()]
		if !ok {
			continue // the webhook has no word for it, and judges a wider question
		}
		if s.ResourceAttributes.LabelSelector == nil {
			s.ResourceAttributes.LabelSelector = &authorization.LabelSelectorAttributes{}
		}
		l := s.ResourceAttributes.LabelSelector
		l.Requirements = append(l.Requirements, metav1.LabelSelectorRequirement{Key: r.Key(), Operator: op, Values: r.ValuesUnsorted()})
	}
	return s
}

var labelOperators = map[selection.Operator]metav1.LabelSelectorOperator{
	selection.Equals: metav1.LabelSelectorOpIn, selection.DoubleEquals: metav1.LabelSelectorOpIn, selection.In: metav1.LabelSelectorOpIn,
	selection.NotEquals: metav1.LabelSelectorOpNotIn, selection.NotIn: metav1.LabelSelectorOpNotIn,
	selection.Exists: metav1.LabelSelectorOpExists, selection.DoesNotExist: metav1.LabelSelectorOpDoesNotExist,
}
