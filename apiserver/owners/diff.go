package owners

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	smd "sigs.k8s.io/structured-merge-diff/v6/value"
)

// walker compares two values of one type: typed.TypedValue.Compare of structured-merge-diff, on Go values.
type walker struct {
	plans   *plans
	changed set // a stack: what was added or modified, of the value that is being walked
	removed set // a stack, too
	buf     []byte
	texts   map[string]string // texts of items that came before: most come again
	exact   bool              // inside a list that is compared as a whole
	err     error
}

// mostTexts bounds the texts that are remembered.
const mostTexts = 2048

// diff says which fields differ between two objects of one type, whose plan is p. old may be the zero value.
func (w *walker) diff(p *plan, old, now reflect.Value) (changed, removed set, err error) {
	w.changed, w.removed, w.err = w.changed[:0], w.removed[:0], nil
	w.structure(p, old, now)
	return w.take(&w.changed, 0), w.take(&w.removed, 0), w.err
}

// take is what has been put onto a stack since it was so high.
func (w *walker) take(stack *set, from int) set {
	top := (*stack)[from:]
	if len(top) == 0 {
		return nil
	}
	out := slices.Clone(top)
	clear(top)
	*stack = (*stack)[:from]
	return out
}

// pair is two values; what is missing is not there at all.
type pair struct {
	old, now       reflect.Value
	hadOld, hasNow bool
}

// name is an element without what is under it.
type name struct {
	kind byte
	text string
}

// leaf compares what is owned as a whole.
func (w *walker) leaf(n name, p *plan, v pair) {
	switch {
	case !v.hadOld:
		w.changed = append(w.changed, element{kind: n.kind, text: n.text, member: true})
	case !v.hasNow:
		w.removed = append(w.removed, element{kind: n.kind, text: n.text, member: true})
	case null(v.old) != null(v.now), !w.same(p, v.old, v.now): // an empty list is not the same as none
		w.changed = append(w.changed, element{kind: n.kind, text: n.text, member: true})
	}
}

// close puts onto the stacks what has been found under an element since they were so high.
func (w *walker) close(n name, v pair, c, r int) {
	if sub := w.take(&w.changed, c); len(sub) > 0 || !v.hadOld {
		w.changed = append(w.changed, element{kind: n.kind, text: n.text, member: !v.hadOld, sub: sub})
	}
	if sub := w.take(&w.removed, r); len(sub) > 0 || !v.hasNow {
		w.removed = append(w.removed, element{kind: n.kind, text: n.text, member: !v.hasNow, sub: sub})
	}
}

// value compares the values of one element.
func (w *walker) value(n name, p *plan, v pair) {
	if v.hadOld {
		v.old = deref(v.old)
	}
	if v.hasNow {
		v.now = deref(v.now)
	}
	if p.atomic || p.shape < opaqueJSON {
		w.leaf(n, p, v)
		return
	}
	c, r := len(w.changed), len(w.removed)
	var met bool // anything in it
	switch p.shape {
	case opaqueJSON:
		w.opaque(n, p, v)
		return
	case structure:
		met = w.structure(p, full(v.old, v.hadOld), full(v.now, v.hasNow))
	case texts, resources, dict:
		met = w.dict(p, full(v.old, v.hadOld), full(v.now, v.hasNow))
	case list:
		met = w.list(p, full(v.old, v.hadOld), full(v.now, v.hasNow))
	}
	if !met {
		w.leaf(n, p, v)
		return
	}
	w.close(n, v, c, r)
}

// full is v, or no value if it is missing or null.
func full(v reflect.Value, has bool) reflect.Value {
	if !has || null(v) {
		return reflect.Value{}
	}
	return v
}

// deref is what a pointer points to, or the nil pointer.
func deref(v reflect.Value) reflect.Value {
	if k := v.Kind(); (k == reflect.Pointer || k == reflect.Interface) && !v.IsNil() {
		return v.Elem()
	}
	return v
}

// null says whether JSON has null for v.
func null(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return v.IsNil()
	}
	return false
}

// structure compares the fields of two structs, of which one may be missing, and says whether there are any.
func (w *walker) structure(p *plan, old, now reflect.Value) (met bool) {
	list := w.plans.load(p.parts)
	for i := range list {
		q := &list[i]
		var v pair
		if old.IsValid() {
			v.old = q.get(old)
			v.hadOld = !q.omits(v.old)
		}
		if now.IsValid() {
			v.now = q.get(now)
			v.hasNow = !q.omits(v.now)
		}
		if !v.hadOld && !v.hasNow {
			continue
		}
		met = true
		if v.hadOld && v.hasNow && shared(v.old, v.now) {
			continue
		}
		w.value(name{field, q.name}, q.plan, v)
	}
	return met
}

// shared says whether two values are one in memory.
func shared(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer, reflect.Map:
		return a.UnsafePointer() == b.UnsafePointer()
	case reflect.Slice:
		return a.UnsafePointer() == b.UnsafePointer() && a.Len() == b.Len() && a.IsNil() == b.IsNil()
	}
	return false
}

// dict compares two maps, of which one may be missing, and says whether anything is in them.
func (w *walker) dict(p *plan, old, now reflect.Value) (met bool) {
	c, r := len(w.changed), len(w.removed)
	switch p.shape {
	case texts:
		met = dicts(w, stringsOf(old), stringsOf(now), func(a, b string) bool { return a == b })
	case resources:
		met = dicts(w, amounts(old), amounts(now), sameQuantity)
	default:
		met = w.anyDict(p, old, now)
	}
	slices.SortFunc(w.changed[c:], byOrder)
	slices.SortFunc(w.removed[r:], byOrder)
	return met
}

func byOrder(a, b element) int { return order(&a, &b) }

func stringsOf(v reflect.Value) map[string]string {
	if !v.IsValid() {
		return nil
	}
	return v.Interface().(map[string]string)
}

func amounts(v reflect.Value) core.ResourceList {
	if !v.IsValid() {
		return nil
	}
	return v.Interface().(core.ResourceList)
}

// dicts is dict for maps whose values are leaves.
func dicts[K ~string, V any](w *walker, old, now map[K]V, same func(a, b V) bool) bool {
	for k, v := range now {
		if was, ok := old[k]; !ok || !same(was, v) {
			w.changed = append(w.changed, element{kind: field, text: string(k), member: true})
		}
	}
	for k := range old {
		if _, ok := now[k]; !ok {
			w.removed = append(w.removed, element{kind: field, text: string(k), member: true})
		}
	}
	return len(old)+len(now) > 0
}

func (w *walker) anyDict(p *plan, old, now reflect.Value) bool {
	n := 0
	if now.IsValid() {
		n += now.Len()
		for it := now.MapRange(); it.Next(); {
			v := pair{now: it.Value(), hasNow: true}
			if old.IsValid() {
				v.old = old.MapIndex(it.Key())
				v.hadOld = v.old.IsValid()
			}
			w.value(name{field, it.Key().String()}, p.elem, v)
		}
	}
	if old.IsValid() {
		n += old.Len()
		for it := old.MapRange(); it.Next(); {
			if !now.IsValid() || !now.MapIndex(it.Key()).IsValid() {
				w.value(name{field, it.Key().String()}, p.elem, pair{old: it.Value(), hadOld: true})
			}
		}
	}
	return n > 0
}

// list compares two lists whose items are told apart by keys, or are the values of a set.
func (w *walker) list(p *plan, old, now reflect.Value) bool {
	a, b := 0, 0
	if old.IsValid() {
		a = old.Len()
	}
	if now.IsValid() {
		b = now.Len()
	}
	if a+b == 0 {
		return false
	}
	if a == b && w.same(p, old, now) {
		w.named(p, now)
		return true
	}
	c, r := len(w.changed), len(w.removed)
	was, is := w.items(p, old, a), w.items(p, now, b)
	for i := range is {
		at := is[i]
		if at.again {
			continue
		}
		w.item(p, at.text, old, now, occurrences(was, at.text), occurrences(is, at.text))
	}
	for _, at := range was {
		if !at.again && len(occurrences(is, at.text)) == 0 {
			w.item(p, at.text, old, now, occurrences(was, at.text), nil)
		}
	}
	slices.SortFunc(w.changed[c:], byOrder)
	slices.SortFunc(w.removed[r:], byOrder)
	return true
}

// named makes sure that all items of a list have a text.
func (w *walker) named(p *plan, v reflect.Value) {
	if p.set {
		return
	}
	list := w.plans.load(p.elem.parts)
	for i := range v.Len() {
		has := false
		for _, key := range p.keys {
			q := partOf(list, key)
			has = has || q != nil && (q.absent != "" || !q.omits(q.get(deref(v.Index(i)))))
		}
		if !has {
			w.err = errKeys
		}
	}
}

// partOf is the field of a struct with this name; nil if there is none.
func partOf(list []part, name string) *part {
	at, found := slices.BinarySearchFunc(list, name, func(q part, name string) int { return strings.Compare(q.name, name) })
	if !found {
		return nil
	}
	return &list[at]
}

// listed is one item of a list.
type listed struct {
	text  string
	again bool // another one before it has the same text
}

// items are the texts of the items of a list. Those that have none are an error.
func (w *walker) items(p *plan, v reflect.Value, n int) []listed {
	out := make([]listed, n)
	var seen map[string]bool
	if n > 16 {
		seen = make(map[string]bool, n)
	}
	for i := range n {
		t := w.text(p, deref(v.Index(i)))
		again := seen[t]
		for j := 0; seen == nil && j < i && !again; j++ {
			again = out[j].text == t
		}
		if seen != nil {
			seen[t] = true
		}
		out[i] = listed{t, again}
	}
	return out
}

func occurrences(l []listed, text string) (out []int) {
	var few [4]int
	out = few[:0]
	for i := range l {
		if l[i].text == text {
			out = append(out, i)
		}
	}
	return out
}

// item compares the items that have one text. Where there are more than one, they are owned as a whole.
func (w *walker) item(p *plan, text string, old, now reflect.Value, was, is []int) {
	n := name{item, text}
	if p.set {
		n.kind = value
	}
	one := func(v reflect.Value, at []int) (reflect.Value, bool) {
		if len(at) == 0 {
			return reflect.Value{}, false
		}
		return v.Index(at[0]), true
	}
	var v pair
	whole := element{kind: n.kind, text: n.text, member: true}
	switch {
	case len(was) <= 1 && len(is) <= 1:
		v.old, v.hadOld = one(old, was)
		v.now, v.hasNow = one(now, is)
		w.value(n, p.elem, v)
	case len(was) >= 2 && len(is) >= 2:
		equal := len(was) == len(is)
		for i := 0; equal && i < len(is); i++ {
			equal = w.same(p.elem, old.Index(was[i]), now.Index(is[i]))
		}
		if !equal {
			w.changed = append(w.changed, whole)
		}
	case len(was) >= 2:
		if v.now, v.hasNow = one(now, is); v.hasNow {
			w.value(n, p.elem, v)
		}
		w.removed = append(w.removed, whole)
	default:
		if v.old, v.hadOld = one(old, was); v.hadOld {
			w.value(n, p.elem, v)
		}
		w.changed = append(w.changed, whole)
	}
}

// text is what an item of a list is called: its keys, or its value.
func (w *walker) text(p *plan, v reflect.Value) string {
	w.buf = w.buf[:0]
	if p.set {
		w.scalar(p.elem, v)
	} else {
		w.keys(p, v)
	}
	if t, ok := w.texts[string(w.buf)]; ok {
		return t
	}
	if len(w.texts) >= mostTexts {
		clear(w.texts)
	}
	t := string(w.buf)
	w.texts[t] = t
	return t
}

func (w *walker) keys(p *plan, v reflect.Value) {
	w.buf = append(w.buf, '{')
	if null(v) || p.elem.shape != structure {
		w.err = errKeys
		return
	}
	list := w.plans.load(p.elem.parts)
	for _, key := range p.keys {
		q := partOf(list, key)
		if q == nil {
			continue
		}
		f := q.get(v)
		omitted := q.omits(f)
		if omitted && q.absent == "" {
			continue
		}
		if len(w.buf) > 1 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, '"')
		w.buf = append(w.buf, key...)
		w.buf = append(w.buf, '"', ':')
		if omitted {
			w.buf = append(w.buf, q.absent...)
		} else {
			w.scalar(q.plan, deref(f))
		}
	}
	if len(w.buf) == 1 {
		w.err = errKeys
	}
	w.buf = append(w.buf, '}')
}

// scalar appends the JSON of a value.
func (w *walker) scalar(p *plan, v reflect.Value) {
	switch {
	case null(v):
		w.buf = append(w.buf, "null"...)
	case p.shape == text && plainString(v.String()):
		w.buf = append(w.buf, '"')
		w.buf = append(w.buf, v.String()...)
		w.buf = append(w.buf, '"')
	case p.shape == integer:
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
	case p.shape == truth:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
	default:
		b, err := smd.ToJSON(smd.NewValueInterface(untyped(v)))
		if err != nil {
			w.err = err
		}
		w.buf = append(w.buf, b...)
	}
}

// opaque compares values whose types have JSON of their own.
func (w *walker) opaque(n name, p *plan, v pair) {
	var old, now any
	if v.hadOld {
		old = untyped(v.old)
	}
	if v.hasNow {
		now = untyped(v.now)
	}
	w.any(n, given{old, v.hadOld}, given{now, v.hasNow})
}

// given is a value of which nothing is known; null is one, too.
type given struct {
	v   any
	has bool
}

// any compares JSON: its maps by what is in them, all else as a whole.
func (w *walker) any(n name, old, now given) {
	v := pair{hadOld: old.has, hasNow: now.has}
	a, isA := old.v.(map[string]any)
	b, isB := now.v.(map[string]any)
	scalars := old.has && old.v != nil && !isA || now.has && now.v != nil && !isB
	leaf := func() {
		if !old.has || !now.has || !smd.Equals(smd.NewValueInterface(old.v), smd.NewValueInterface(now.v)) {
			e := element{kind: n.kind, text: n.text, member: true}
			if now.has {
				w.changed = append(w.changed, e)
			} else {
				w.removed = append(w.removed, e)
			}
		}
	}
	if len(a)+len(b) == 0 {
		leaf()
		return
	}
	c, r := len(w.changed), len(w.removed)
	keys := slices.Sorted(maps.Keys(b))
	for k := range a {
		if _, ok := b[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		was, ok1 := a[k]
		is, ok2 := b[k]
		w.any(name{field, k}, given{was, ok1}, given{is, ok2})
	}
	if old.has && now.has && scalars { // one is a map and the other is not: it is modified, and so is all that is in the map
		sub := w.take(&w.changed, c)
		w.changed = append(w.changed, element{kind: n.kind, text: n.text, member: true, sub: sub})
		v.hadOld = true
		if gone := w.take(&w.removed, r); len(gone) > 0 {
			w.removed = append(w.removed, element{kind: n.kind, text: n.text, sub: gone})
		}
		return
	}
	w.close(n, v, c, r)
}
