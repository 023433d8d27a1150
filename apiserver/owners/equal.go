package owners

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	smd "sigs.k8s.io/structured-merge-diff/v6/value"
)

// same says whether two values have the same JSON. Inside lists that is not enough: structured-merge-diff compares them in memory, where
// an empty list is not one that was never given, and 1000m is not 1.
func (w *walker) same(p *plan, a, b reflect.Value) bool {
	a, b = deref(a), deref(b)
	if x, y := null(a), null(b); x || y {
		return x == y || !w.exact && p.shape == instant && zeroTime(a) && zeroTime(b)
	}
	switch p.shape {
	case text:
		return a.String() == b.String()
	case truth:
		return a.Bool() == b.Bool()
	case integer:
		return a.Int() == b.Int()
	case unsigned:
		return a.Uint() == b.Uint()
	case fraction:
		return a.Float() == b.Float()
	case blob:
		return string(a.Bytes()) == string(b.Bytes())
	case instant:
		x, y := at[metav1.Time](a), at[metav1.Time](b)
		return x.IsZero() && y.IsZero() || x.IsZero() == y.IsZero() && x.Unix() == y.Unix()
	case moment:
		x, y := at[metav1.MicroTime](a), at[metav1.MicroTime](b)
		return x.IsZero() && y.IsZero() || x.IsZero() == y.IsZero() && x.Truncate(time.Microsecond).Equal(y.Truncate(time.Microsecond))
	case quantity:
		x, y := *at[resource.Quantity](a), *at[resource.Quantity](b)
		return sameQuantity(x, y) && (!w.exact || inMemory(x, y))
	case either:
		x, y := at[intstr.IntOrString](a), at[intstr.IntOrString](b)
		return x.Type == y.Type && (x.Type == intstr.Int && x.IntVal == y.IntVal || x.Type == intstr.String && x.StrVal == y.StrVal)
	case opaqueJSON:
		if w.exact {
			return reflect.DeepEqual(a.Interface(), b.Interface())
		}
		return smd.Equals(smd.NewValueInterface(untyped(a)), smd.NewValueInterface(untyped(b)))
	case structure:
		return w.sameStructure(p, a, b)
	case list:
		return w.sameList(p, a, b)
	}
	return w.sameDict(p, a, b)
}

// at is where a value is, or a copy of it.
func at[T any](v reflect.Value) *T {
	if v.CanAddr() {
		return v.Addr().Interface().(*T)
	}
	t := v.Interface().(T)
	return &t
}

// zeroTime says whether v is the zero time or no time at all, which are the same in JSON.
func zeroTime(v reflect.Value) bool {
	return null(v) || at[metav1.Time](v).IsZero()
}

func sameQuantity(a, b resource.Quantity) bool { return a.String() == b.String() }

// inMemory says whether two quantities are the same number in the same notation. The text that each may remember does not count.
func inMemory(a, b resource.Quantity) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for range 2 { // to negate a quantity makes it forget its text
		x.Neg()
		y.Neg()
	}
	return reflect.DeepEqual(x, y)
}

func (w *walker) sameStructure(p *plan, a, b reflect.Value) bool {
	list := w.plans.load(p.parts)
	for i := range list {
		q := &list[i]
		x, y := q.get(a), q.get(b)
		if w.exact {
			if !shared(x, y) && !w.same(q.plan, x, y) {
				return false
			}
			continue
		}
		if o1, o2 := q.omits(x), q.omits(y); o1 || o2 {
			if o1 != o2 {
				return false
			}
			continue
		}
		if !shared(x, y) && !w.same(q.plan, x, y) {
			return false
		}
	}
	return true
}

func (w *walker) sameList(p *plan, a, b reflect.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	defer func(was bool) { w.exact = was }(w.exact)
	w.exact = true
	for i := range a.Len() {
		if !w.same(p.elem, a.Index(i), b.Index(i)) {
			return false
		}
	}
	return true
}

func (w *walker) sameDict(p *plan, a, b reflect.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for it := a.MapRange(); it.Next(); {
		other := b.MapIndex(it.Key())
		if !other.IsValid() || !w.same(p.elem, it.Value(), other) {
			return false
		}
	}
	return true
}
