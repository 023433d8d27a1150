package owners

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// The kinds of elements, in their order.
const (
	field = 'f' // the text is the name
	item  = 'k' // the text is the keys of the item of a list, as JSON
	value = 'v' // the text is the value in a set, as JSON
)

// element is one element of a set, and those under it.
type element struct {
	text   string
	kind   byte
	member bool // the element itself is in the set
	sub    set
}

// set is a set of fields: elements in their order, each with something in it. Sets are never changed.
type set []element

// order is the one that sets have.
func order(a, b *element) int {
	switch {
	case a.kind != b.kind:
		return cmp.Compare(rank(a.kind), rank(b.kind))
	case a.text == b.text:
		return 0
	case a.kind == field:
		return strings.Compare(a.text, b.text)
	}
	return orderJSON(a.kind, a.text, b.text)
}

func rank(kind byte) int {
	switch kind {
	case field:
		return 0
	case item:
		return 1
	case value:
		return 2
	}
	return 3
}

// orderJSON orders keys of items, or values: by name, then by value, numbers as numbers.
func orderJSON(kind byte, a, b string) int {
	if kind == value {
		if c, ok := orderScalar(a, b); ok {
			return c
		}
		return orderAny(kind, a, b)
	}
	for x, y := a[1:], b[1:]; ; {
		nx, vx, restX, ok1 := nextKey(x)
		ny, vy, restY, ok2 := nextKey(y)
		if !ok1 || !ok2 {
			return orderAny(kind, a, b)
		}
		if c := strings.Compare(nx, ny); c != 0 {
			return c
		}
		c, ok := orderScalar(vx, vy)
		if !ok {
			return orderAny(kind, a, b)
		}
		if c != 0 {
			return c
		}
		switch {
		case restX == "" && restY == "":
			return 0
		case restX == "":
			return -1
		case restY == "":
			return 1
		}
		x, y = restX, restY
	}
}

// nextKey reads `"name":value` and what follows it: a comma and more, or the end. It knows plain values only.
func nextKey(s string) (name, val, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", "", false
	}
	end := strings.IndexByte(s[1:], '"') + 1
	if end == 0 || end+1 >= len(s) || s[end+1] != ':' || strings.IndexByte(s[:end], '\\') >= 0 {
		return "", "", "", false
	}
	name, s = s[1:end], s[end+2:]
	n := 0
	if s != "" && s[0] == '"' {
		if n = strings.IndexByte(s[1:], '"') + 2; n == 1 || strings.IndexByte(s[:n], '\\') >= 0 {
			return "", "", "", false
		}
	} else if n = strings.IndexAny(s, ",}"); n <= 0 {
		return "", "", "", false
	}
	if n >= len(s) {
		return "", "", "", false
	}
	switch val, s = s[:n], s[n:]; {
	case s == "}":
		return name, val, "", true
	case s[0] == ',' && len(s) > 1:
		return name, val, s[1:], true
	}
	return "", "", "", false
}

// orderScalar orders two plain strings or two whole numbers.
func orderScalar(a, b string) (int, bool) {
	if a == "" || b == "" {
		return 0, false
	}
	if a[0] == '"' && b[0] == '"' {
		if strings.IndexByte(a, '\\') >= 0 || strings.IndexByte(b, '\\') >= 0 {
			return 0, false
		}
		return strings.Compare(a[1:len(a)-1], b[1:len(b)-1]), true
	}
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	return cmp.Compare(x, y), err1 == nil && err2 == nil
}

// orderAny is the order of everything else, which is seldom met.
func orderAny(kind byte, a, b string) int {
	x, err1 := fieldpath.DeserializePathElement(string(kind) + ":" + a)
	y, err2 := fieldpath.DeserializePathElement(string(kind) + ":" + b)
	if err1 != nil || err2 != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

// union is the elements of both.
func union(a, b set) set {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	out := make(set, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch c := order(&a[0], &b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			e := a[0]
			e.member = e.member || b[0].member
			e.sub = union(e.sub, b[0].sub)
			out, a, b = append(out, e), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// minus is a without the elements of b; those under them stay. changed is false if that is a itself.
func minus(a, b set) (out set, changed bool) {
	for i, j := 0, 0; i < len(a); {
		c := -1
		if j < len(b) {
			c = order(&a[i], &b[j])
		}
		if c > 0 {
			j++
			continue
		}
		e, less := a[i], false
		if c == 0 {
			e.member = e.member && !b[j].member
			less = e.member != a[i].member
			var sub bool
			e.sub, sub = minus(e.sub, b[j].sub)
			less = less || sub
			j++
		}
		if less && !changed {
			changed = true
			out = append(make(set, 0, len(a)), a[:i]...)
		}
		if changed && (e.member || len(e.sub) > 0) {
			out = append(out, e)
		}
		i++
	}
	if !changed {
		return a, false
	}
	return out, true
}

// without is a without the elements of b and everything under them.
func without(a, b set) set {
	if len(a) == 0 || len(b) == 0 {
		return a
	}
	out := make(set, 0, len(a))
	for i := range a {
		e := a[i]
		at, found := slices.BinarySearchFunc(b, &e, func(x element, y *element) int { return order(&x, y) })
		if found {
			if b[at].member {
				continue
			}
			e.sub = without(e.sub, b[at].sub)
		}
		if e.member || len(e.sub) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// parsed is a set as the library knows it in our form.
func parsed(s *fieldpath.Set) (out set, err error) {
	add := func(pe fieldpath.PathElement) *element {
		text, serr := fieldpath.SerializePathElement(pe)
		if serr != nil || len(text) < 2 {
			err = cmp.Or(err, serr)
			return nil
		}
		e := element{kind: text[0], text: text[2:]}
		at, found := slices.BinarySearchFunc(out, &e, func(x element, y *element) int { return order(&x, y) })
		if !found {
			out = slices.Insert(out, at, e)
		}
		return &out[at]
	}
	s.Members.Iterate(func(pe fieldpath.PathElement) {
		if e := add(pe); e != nil {
			e.member = true
		}
	})
	s.Children.Iterate(func(pe fieldpath.PathElement) {
		sub, _ := s.Children.Get(pe)
		under, serr := parsed(sub)
		if err = cmp.Or(err, serr); err != nil || len(under) == 0 {
			return
		}
		if e := add(pe); e != nil {
			e.sub = under
		}
	})
	return out, err
}
