package flowcontrol

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"proa.dev/kinds/check"
)

// Bounds of queues.
const (
	maxQueues   = 10_000_000
	maxHashBits = 60 // what shuffle sharding takes of a flow's hash of 64 bits, so that every hand is about as likely
)

// oldShares is an annotation of an older version, and of no use in this one.
const oldShares = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"

func validateLevel(l *flowcontrol.PriorityLevelConfiguration) field.ErrorList {
	return check.Run(func(e *check.Errors) {
		if _, ok := l.Annotations[oldShares]; ok {
			e.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", oldShares))
		}
		p := field.NewPath("spec")
		checkLevelSpec(e, l.Name, &l.Spec, p)
		checkMandatory(e, l, p)
		e.Add(validateLevelStatus(l)...)
	})
}

// checkMandatory wants the levels without which nothing works to be as they are. Of "exempt" its shares may change.
func checkMandatory(e *check.Errors, l *flowcontrol.PriorityLevelConfiguration, p *field.Path) {
	for _, m := range MandatoryLevels() {
		if m.Name != l.Name {
			continue
		}
		have, but := l.Spec, ""
		if l.Name == Exempt {
			have.Exempt, but = m.Spec.Exempt, " except the 'spec.exempt' field"
		}
		if !equality.Semantic.DeepEqual(have, m.Spec) {
			e.Invalid(p, untagged{l.Spec}, fmt.Sprintf("spec of '%s'%s must equal the fixed value", l.Name, but))
		}
	}
}

func checkLevelSpec(e *check.Errors, name string, s *flowcontrol.PriorityLevelConfigurationSpec, p *field.Path) {
	if (name == Exempt) != (s.Type == flowcontrol.PriorityLevelEnablementExempt) {
		e.Invalid(p.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch s.Type {
	case flowcontrol.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			e.Forbidden(p.Child("limited"), "must be nil if the type is not Limited")
		}
		if s.Exempt != nil {
			checkShares(e, p.Child("exempt"), s.Exempt.NominalConcurrencyShares)
			checkLendable(e, p.Child("exempt"), s.Exempt.LendablePercent)
		}
	case flowcontrol.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			e.Forbidden(p.Child("exempt"), "must be nil if the type is Limited")
		}
		if s.Limited == nil {
			e.Required(p.Child("limited"), "must not be empty when type is Limited")
			return
		}
		checkLimited(e, s.Limited, p.Child("limited"))
	default:
		check.OneOf(e, p.Child("type"), s.Type, flowcontrol.PriorityLevelEnablementExempt, flowcontrol.PriorityLevelEnablementLimited)
	}
}

func checkShares(e *check.Errors, p *field.Path, shares *int32) {
	if n := ptr.Deref(shares, 0); n < 0 {
		e.Invalid(p.Child("nominalConcurrencyShares"), n, "must be a non-negative integer")
	}
}

func checkLendable(e *check.Errors, p *field.Path, percent *int32) {
	if n := ptr.Deref(percent, 0); n < 0 || n > 100 {
		e.Invalid(p.Child("lendablePercent"), n, "must be between 0 and 100, inclusive")
	}
}

func checkLimited(e *check.Errors, l *flowcontrol.LimitedPriorityLevelConfiguration, p *field.Path) {
	checkShares(e, p, l.NominalConcurrencyShares)
	r, queuing := l.LimitResponse, p.Child("limitResponse", "queuing")
	switch r.Type {
	case flowcontrol.LimitResponseTypeReject:
		if r.Queuing != nil {
			e.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited")
		}
	case flowcontrol.LimitResponseTypeQueue:
		if r.Queuing == nil {
			e.Required(queuing, "must not be empty if limited.limitResponse.type is Limited")
		} else {
			checkQueuing(e, r.Queuing, queuing)
		}
	default:
		check.OneOf(e, p.Child("limitResponse", "type"), r.Type, flowcontrol.LimitResponseTypeQueue, flowcontrol.LimitResponseTypeReject)
	}
	checkLendable(e, p, l.LendablePercent)
	if n := ptr.Deref(l.BorrowingLimitPercent, 0); n < 0 {
		e.Invalid(p.Child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer")
	}
}

func checkQueuing(e *check.Errors, q *flowcontrol.QueuingConfiguration, p *field.Path) {
	if q.QueueLengthLimit <= 0 {
		e.Invalid(p.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	if q.Queues <= 0 {
		e.Invalid(p.Child("queues"), q.Queues, "must be positive")
	} else if q.Queues > maxQueues {
		e.Invalid(p.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	hand := p.Child("handSize")
	if q.HandSize <= 0 {
		e.Invalid(hand, q.HandSize, "must be positive")
	} else if q.HandSize > q.Queues {
		e.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	} else if bits := math.Ceil(math.Log2(float64(q.Queues)) * float64(q.HandSize)); bits > maxHashBits {
		e.Invalid(hand, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, maxHashBits))
	}
}

func validateLevelStatus(l *flowcontrol.PriorityLevelConfiguration) field.ErrorList {
	types := make([]string, len(l.Status.Conditions))
	for i, c := range l.Status.Conditions {
		types[i] = string(c.Type)
	}
	return checkConditions(types)
}

// untagged is a value that errors show by the names of its fields in Go, as Kubernetes shows its internal types.
type untagged struct{ v any }

// MarshalJSON implements json.Marshaler.
func (u untagged) MarshalJSON() ([]byte, error) {
	return appendUntagged(nil, reflect.ValueOf(u.v))
}

func appendUntagged(b []byte, v reflect.Value) (_ []byte, err error) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return appendUntagged(b, v.Elem())
	case v.Kind() == reflect.Slice && !v.IsNil() && v.Type().Elem().Kind() == reflect.Struct:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendUntagged(b, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case v.Kind() == reflect.Struct:
		b = append(b, '{')
		for i := range v.NumField() {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = append(b, v.Type().Field(i).Name...)
			b = append(b, `":`...)
			if b, err = appendUntagged(b, v.Field(i)); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	raw, err := json.Marshal(v.Interface())
	return append(b, raw...), err
}
