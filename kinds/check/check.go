package check

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// Errors is what is wrong so far, in the order found. The zero value is empty.
type Errors struct {
	List field.ErrorList
}

// Run is the list of errors that f adds.
func Run(f func(e *Errors)) field.ErrorList {
	var e Errors
	f(&e)
	return e.List
}

// Add adds errors that a library found.
func (e *Errors) Add(errs ...*field.Error) { e.List = append(e.List, errs...) }

// Required says that something must be there.
func (e *Errors) Required(p *field.Path, detail string) { e.Add(field.Required(p, detail)) }

// NotEmpty wants a value.
func (e *Errors) NotEmpty(p *field.Path, v string) {
	if v == "" {
		e.Required(p, "")
	}
}

// Invalid says what is wrong with a value.
func (e *Errors) Invalid(p *field.Path, v any, detail string) {
	e.Add(field.Invalid(p, Plain(v), detail))
}

// Invalids is Invalid for each of the messages that a library function returned.
func (e *Errors) Invalids(p *field.Path, v any, details []string) {
	for _, d := range details {
		e.Invalid(p, v, d)
	}
}

// Forbidden says that something must not be there, or not change.
func (e *Errors) Forbidden(p *field.Path, detail string) { e.Add(field.Forbidden(p, detail)) }

// Duplicate says that a value has been there before.
func (e *Errors) Duplicate(p *field.Path, v any) { e.Add(field.Duplicate(p, Plain(v))) }

// NotFound says that a value refers to nothing.
func (e *Errors) NotFound(p *field.Path, v any) { e.Add(field.NotFound(p, v)) }

// OneOf says whether v is among those allowed, and adds an error if not. The error names them in this order.
func OneOf[T ~string](e *Errors, p *field.Path, v T, allowed ...T) bool {
	for _, a := range allowed {
		if v == a {
			return true
		}
	}
	e.Add(field.NotSupported(p, v, allowed))
	return false
}

// OneOfRequired is OneOf for a value that may be missing, which is another error.
func OneOfRequired[T ~string](e *Errors, p *field.Path, v T, allowed ...T) {
	if v == "" {
		e.Required(p, "")
		return
	}
	OneOf(e, p, v, allowed...)
}

// NonNegative wants n >= 0.
func (e *Errors) NonNegative(p *field.Path, n int64) {
	if n < 0 {
		e.Invalid(p, n, validation.IsNegativeErrorMsg)
	}
}

// NonNegativePtr wants n >= 0 where it is set.
func NonNegativePtr[T int32 | int64](e *Errors, p *field.Path, n *T) {
	if n != nil {
		e.NonNegative(p, int64(*n))
	}
}

// Positive wants n > 0.
func (e *Errors) Positive(p *field.Path, n int64) {
	if n <= 0 {
		e.Invalid(p, n, "must be greater than zero")
	}
}

// NonNegativeQuantity wants q >= 0.
func (e *Errors) NonNegativeQuantity(p *field.Path, q resource.Quantity) {
	if q.Sign() < 0 {
		e.Invalid(p, q.String(), validation.IsNegativeErrorMsg)
	}
}

// PositiveQuantity wants q > 0.
func (e *Errors) PositiveQuantity(p *field.Path, q resource.Quantity) {
	if q.Sign() <= 0 {
		e.Invalid(p, q.String(), "must be greater than zero")
	}
}

// Immutable wants both to be the same.
func (e *Errors) Immutable(p *field.Path, now, old any) {
	if !equality.Semantic.DeepEqual(now, old) {
		e.Invalid(p, now, validation.FieldImmutableErrorMsg)
	}
}

// NotDecremented wants now >= old where both are set.
func (e *Errors) NotDecremented(p *field.Path, now, old *int32) {
	if old != nil && (now == nil || *now < *old) {
		e.Invalid(p, ptr.Deref(now, 0), "cannot be decremented")
	}
}

// Label wants a DNS label of RFC 1123.
func (e *Errors) Label(p *field.Path, v string) { e.Invalids(p, v, utilvalidation.IsDNS1123Label(v)) }

// Subdomain wants a DNS subdomain of RFC 1123.
func (e *Errors) Subdomain(p *field.Path, v string) {
	e.Invalids(p, v, utilvalidation.IsDNS1123Subdomain(v))
}

// QualifiedName wants "name" or "prefix/name".
func (e *Errors) QualifiedName(p *field.Path, v string) {
	e.Invalids(p, v, utilvalidation.IsQualifiedName(v))
}

// LabelName wants a label's key.
func (e *Errors) LabelName(p *field.Path, v string) { e.Add(metavalidation.ValidateLabelName(v, p)...) }

// Labels wants a map of labels.
func (e *Errors) Labels(p *field.Path, m map[string]string) {
	e.Add(metavalidation.ValidateLabels(m, p)...)
}

// Annotations wants a map of annotations.
func (e *Errors) Annotations(p *field.Path, m map[string]string) {
	e.Add(validation.ValidateAnnotations(m, p)...)
}

// Selector wants a label selector; nil is one.
func (e *Errors) Selector(p *field.Path, s *metav1.LabelSelector) {
	e.Add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, p)...)
}

// Port wants a number from 1 to 65535.
func (e *Errors) Port(p *field.Path, n int32) {
	e.Invalids(p, n, utilvalidation.IsValidPortNum(int(n)))
}

// PortOrName wants a port's number or name.
func (e *Errors) PortOrName(p *field.Path, v intstr.IntOrString) {
	switch v.Type {
	case intstr.Int:
		e.Invalids(p, v.IntValue(), utilvalidation.IsValidPortNum(v.IntValue()))
	case intstr.String:
		e.Invalids(p, v.StrVal, utilvalidation.IsValidPortName(v.StrVal))
	default:
		e.Add(field.InternalError(p, fmt.Errorf("unknown type: %v", v.Type)))
	}
}

// IP wants an address in its canonical form. Those in old have been accepted before and may stay.
func (e *Errors) IP(p *field.Path, v string, old []string) {
	e.Add(utilvalidation.IsValidIPForLegacyField(p, v, true, old)...)
}

// CIDR wants an address range in its canonical form. Those in old have been accepted before and may stay.
func (e *Errors) CIDR(p *field.Path, v string, old []string) {
	e.Add(utilvalidation.IsValidCIDRForLegacyField(p, v, true, old)...)
}
