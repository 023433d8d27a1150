package owners

import (
	"slices"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Any stands for every element in a path of a Filter.
const Any = "*"

// Filter says which fields a write can own: those that it could not change anyway it does not. The zero value lets everything through.
type Filter struct {
	drop set
	keep *branch
}

// branch is what is kept below a place: everything, or what is named.
type branch struct {
	all  bool
	next []twig
}

type twig struct {
	name string // or Any
	to   *branch
}

// Without is a filter that takes these fields away, and everything under them.
func Without(paths ...[]string) Filter {
	var f Filter
	for _, p := range paths {
		f.drop = union(f.drop, setOf(p))
	}
	return f
}

func setOf(path []string) set {
	e := element{kind: field, text: path[0], member: len(path) == 1}
	if !e.member {
		e.sub = setOf(path[1:])
	}
	return set{e}
}

// Only is a filter that leaves these fields, with everything under them.
func Only(paths ...[]string) Filter {
	root := &branch{}
	for _, p := range paths {
		at := root
		for _, name := range p {
			i := slices.IndexFunc(at.next, func(t twig) bool { return t.name == name })
			if i < 0 {
				i = len(at.next)
				at.next = append(at.next, twig{name, &branch{}})
			}
			at = at.next[i].to
		}
		at.all = true
	}
	return Filter{keep: root}
}

// of is what the filter lets through.
func (f *Filter) of(s set) set {
	if f.keep != nil {
		return f.keep.of(s)
	}
	return without(s, f.drop)
}

func (b *branch) of(s set) set {
	if b.all {
		return s
	}
	var out set
	for i := range s {
		e := s[i]
		at := slices.IndexFunc(b.next, func(t twig) bool { return t.name == Any || e.kind == field && t.name == e.text })
		if at < 0 {
			continue
		}
		if e.sub = b.next[at].to.of(e.sub); e.member || len(e.sub) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// Library is the same filter for structured-merge-diff; nil if it lets everything through.
func (f *Filter) Library() fieldpath.Filter {
	switch {
	case f.keep != nil:
		var all []*fieldpath.SetMatcher
		f.keep.matchers(nil, &all)
		return fieldpath.NewIncludeMatcherFilter(all...)
	case len(f.drop) > 0:
		out := fieldpath.NewSet()
		f.drop.paths(nil, func(p fieldpath.Path) { out.Insert(p) })
		return fieldpath.NewExcludeSetFilter(out)
	}
	return nil
}

func (b *branch) matchers(way []any, out *[]*fieldpath.SetMatcher) {
	if b.all {
		*out = append(*out, fieldpath.MakePrefixMatcherOrDie(way...))
		return
	}
	for _, t := range b.next {
		var step any = t.name
		if t.name == Any {
			step = fieldpath.MatchAnyPathElement()
		}
		t.to.matchers(append(slices.Clone(way), step), out)
	}
}

// paths calls fn for each field of a set that has nothing but names.
func (s set) paths(way fieldpath.Path, fn func(fieldpath.Path)) {
	for i := range s {
		p := append(slices.Clone(way), fieldpath.FieldNameElement(s[i].text))
		if s[i].member {
			fn(p)
		}
		s[i].sub.paths(p, fn)
	}
}
