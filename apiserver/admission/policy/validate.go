package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/common/types/ref"
	registration "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/cel"
	xcel "proa.dev/kinds/cel"
	"proa.dev/object"
)

// Bounds of what goes into the audit log.
const (
	maxFailures = 50
	maxValue    = 10 << 10
)

// failure is one validation that did not hold, as the audit log shows it.
type failure struct {
	Message           string                          `json:"message"`
	Policy            string                          `json:"policy"`
	Binding           string                          `json:"binding"`
	ExpressionIndex   int                             `json:"expressionIndex"`
	ValidationActions []registration.ValidationAction `json:"validationActions"`
}

// verdict collects what the policies say about one request.
type verdict struct {
	request  *admission.Request
	subjects map[rules.Match]*cel.Subject
	refusal  error // the first
	failures []failure
}

// check asks every validating policy.
func (p *plugin) check(ctx context.Context, r *admission.Request) error {
	if r.Kind.Group == registration.GroupName {
		if err := p.mayReadParams(ctx, r); err != nil {
			return err
		}
	}
	i := p.index()
	if len(i.validating) == 0 || exempt(r) {
		return nil
	}
	v := &verdict{request: r, subjects: map[rules.Match]*cel.Subject{}}
	for n := range i.validating {
		if err := p.ask(ctx, v, &i.validating[n]); err != nil {
			return err
		}
	}
	if len(v.failures) > 0 {
		text, err := json.Marshal(v.failures[:min(len(v.failures), maxFailures)])
		if err != nil {
			return fmt.Errorf("write down what policies say: %w", err)
		}
		audit.Annotate(ctx, "validation.policy.admission.k8s.io/validation_failure", string(text))
	}
	return v.refusal
}

// ask asks one policy.
func (p *plugin) ask(ctx context.Context, v *verdict, k *policy[*checker]) error {
	match, ok, err := k.match.find(v.request, p.view)
	if err != nil {
		v.fail(k, nil, err)
	}
	if !ok {
		return nil
	}
	params, err := p.findKind(k.params)
	if err != nil {
		v.fail(k, nil, err)
		return nil
	}
	notes := map[string][]string{}
	for n := range k.bindings {
		b := &k.bindings[n]
		if _, ok, err := b.match.find(v.request, p.view); err != nil || !ok {
			v.fail(k, b, err)
			continue
		}
		list, err := p.collect(ctx, params, b.params, v.request)
		if err == nil && len(list) > 0 && v.subjects[match] == nil {
			v.subjects[match], err = cel.NewSubject(ctx, v.request, match, p.deps.Authz)
			if err != nil {
				err = fmt.Errorf("failed to convert object version: %w", err)
			}
		}
		if err != nil {
			v.fail(k, b, err)
			continue
		}
		if err := p.evaluate(ctx, v, k, b, notes, match, list); err != nil {
			return err
		}
	}
	for key, values := range notes {
		audit.Annotate(ctx, k.name+"/"+key, strings.Join(values, ", "))
	}
	return nil
}

// evaluate evaluates a policy for each of the parameters that a binding gives it.
func (p *plugin) evaluate(ctx context.Context, v *verdict, k *policy[*checker], b *binding, notes map[string][]string, match rules.Match, params []object.Object) error {
	if len(params) == 0 {
		return nil
	}
	namespace, err := p.namespace(v.request)
	if err != nil {
		return err
	}
	for _, o := range params {
		began := time.Now()
		decisions, said := k.program().check(ctx, v.subjects[match], valueOf(o), namespace)
		took := time.Since(began) / time.Duration(max(len(decisions), 1))
		for i, d := range decisions {
			switch {
			case d.deny:
				v.deny(ctx, k, b, i, d)
				for _, action := range b.actions {
					p.deps.Meter.Policy(k.name, b.name, strings.ToLower(string(action)), d.message, took)
				}
			case d.message != "":
				p.deps.Meter.Policy(k.name, b.name, "allow", d.message, took)
			}
		}
		for _, n := range said {
			switch {
			case n.wrong != "":
				v.refuse(k, b, decision{message: n.wrong})
			case n.value != "":
				value := n.value[:min(len(n.value), maxValue)]
				if !slices.Contains(notes[n.key], value) {
					notes[n.key] = append(notes[n.key], value)
				}
			}
		}
	}
	return nil
}

// valueOf is parameters as expressions see them.
func valueOf(o object.Object) ref.Val {
	if o == nil {
		return nil
	}
	return xcel.ValueOf(o)
}

// fail is what a policy or binding that cannot be used comes to; no error is nothing.
func (v *verdict) fail(k *policy[*checker], b *binding, err error) {
	if err != nil && !k.ignore {
		v.refuse(k, b, decision{message: misconfigured(b, err).Error()})
	}
}

// deny does with a validation that does not hold what the binding says.
func (v *verdict) deny(ctx context.Context, k *policy[*checker], b *binding, i int, d decision) {
	for _, action := range b.actions {
		switch action {
		case registration.Deny:
			v.refuse(k, b, d)
		case registration.Audit:
			v.failures = append(v.failures, failure{d.message, k.name, b.name, i, b.actions})
		case registration.Warn:
			admission.Warn(ctx, fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", k.name, b.name, d.message))
		}
	}
}

// refuse refuses the request, unless it is refused already.
func (v *verdict) refuse(k *policy[*checker], b *binding, d decision) {
	if v.refusal != nil {
		return
	}
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", k.name, d.message)
	if b != nil {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", k.name, b.name, d.message)
	}
	err := v.request.Forbid("%s", message)
	s := &err.ErrStatus
	s.Reason, s.Code = metav1.StatusReasonInvalid, http.StatusUnprocessableEntity
	switch d.reason {
	case metav1.StatusReasonForbidden:
		s.Reason, s.Code = d.reason, http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		s.Reason, s.Code = d.reason, http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		s.Reason, s.Code = d.reason, http.StatusRequestEntityTooLarge
	}
	s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Message: message})
	v.refusal = err
}
