package rest

import (
	"reflect"
	"strings"
	"sync"

	"proa.dev/object"
)

// asStored makes of empty lists and maps what they are when they are read from the store again, whose protobuf knows none: null, where
// JSON shows them at all. Clients are told the same of an object whether it was just written or is read.
func (s *Served) asStored(o object.Object) {
	if s.Kind.Custom != nil || s.Kind.Kind == "CustomResourceDefinition" { // stored in JSON, if need be
		return
	}
	s.empties.once.Do(func() { s.empties.plan = planOf(reflect.TypeOf(o).Elem(), map[reflect.Type]*empties{}) })
	s.empties.plan.nilled(reflect.ValueOf(o).Elem())
}

// whereEmpty is the plan of a kind, made when the first of its objects is written.
type whereEmpty struct {
	once sync.Once
	plan *empties
}

// empties are the fields of a struct that JSON shows even if they are empty, and those with such fields further down.
type empties struct{ fields []emptyField }

type emptyField struct {
	index int
	shown bool     // itself a list or map
	in    *empties // of what it is, points to or holds; nil: there are none
}

func planOf(t reflect.Type, known map[reflect.Type]*empties) *empties {
	if p, ok := known[t]; ok {
		return p
	}
	p := &empties{}
	known[t] = p // a type may hold itself
	for i := range t.NumField() {
		f := t.Field(i)
		at := emptyField{index: i}
		kind := f.Type.Kind()
		if many := kind == reflect.Map || kind == reflect.Slice && f.Type.Elem().Kind() != reflect.Uint8; many {
			at.shown = !strings.Contains(f.Tag.Get("json"), ",omit")
		}
		elem := f.Type
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct && !strings.HasPrefix(elem.PkgPath(), "k8s.io/apimachinery/") {
			_, open := known[elem]
			if in := planOf(elem, known); open || len(in.fields) > 0 {
				at.in = in
			}
		}
		if f.IsExported() && (at.shown || at.in != nil) {
			p.fields = append(p.fields, at)
		}
	}
	return p
}

// nilled goes through v by the plan. It writes only where there is something to do: the rest may be shared.
func (p *empties) nilled(v reflect.Value) {
	for _, at := range p.fields {
		f := v.Field(at.index)
		if at.shown && f.Len() == 0 && !f.IsNil() {
			f.SetZero()
		}
		if at.in != nil {
			at.in.inside(f)
		}
	}
}

func (p *empties) inside(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			p.inside(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			p.inside(v.Index(i))
		}
	case reflect.Struct:
		p.nilled(v)
	}
}
