package owners

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	smd "sigs.k8s.io/structured-merge-diff/v6/value"

	"proa.dev/apiserver/openapi/markers"
)

// shape is what values of a type are like.
type shape byte

const (
	text shape = iota
	truth
	integer
	unsigned
	fraction
	blob // bytes, base64 in JSON
	instant
	moment // to the microsecond
	quantity
	either // a number or a string
	opaqueJSON
	structure
	dict
	texts     // a dict of strings
	resources // a dict of quantities
	list
)

// plan is what is to be known of the values of one type.
type plan struct {
	shape  shape
	atomic bool // owned as a whole
	elem   *plan
	set    bool     // a list that is a set
	keys   []string // a list whose items are told apart by these, sorted
	parts  *parts   // of a structure
}

// parts are the fields of a struct, compiled when a value is first met.
type parts struct {
	in   reflect.Type
	once sync.Once
	list []part // by name
}

// part is one field of a struct as JSON has it.
type part struct {
	name   string
	at     []int // the way to it through embedded structs
	plan   *plan
	empty  bool                     // left out if it is empty
	zero   func(reflect.Value) bool // left out if so; nil: not for that
	absent string                   // JSON of what it is where it is missing, if anything
}

// plans compiles and keeps plans.
type plans struct {
	marks func() markers.Index

	mu     sync.Mutex // guards byType
	byType map[reflect.Type]*plan
}

func newPlans() *plans {
	return &plans{byType: map[reflect.Type]*plan{}, marks: sync.OnceValue(func() markers.Index {
		marks, err := markers.Load()
		if err != nil {
			panic(fmt.Sprintf("owners: %v", err)) // the markers are a part of the program, and a test reads them
		}
		return marks
	})}
}

// of is the plan for a type; pointers are what they point to.
func (p *plans) of(t reflect.Type) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.compile(t)
}

// compile is of with the lock held.
func (p *plans) compile(t reflect.Type) *plan {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if made := p.byType[t]; made != nil {
		return made
	}
	made := &plan{shape: shapeOf(t)}
	p.byType[t] = made // types may hold themselves
	switch made.shape {
	case dict, texts, resources, list:
		made.elem = p.compile(t.Elem())
		made.atomic = made.shape == list // unless the field says otherwise
	case structure:
		made.parts = &parts{in: t}
		made.atomic = p.marks()[typePath(t)+" -"].Map == "atomic"
	}
	return made
}

func shapeOf(t reflect.Type) shape {
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return instant
	case reflect.TypeFor[metav1.MicroTime]():
		return moment
	case reflect.TypeFor[resource.Quantity]():
		return quantity
	case reflect.TypeFor[intstr.IntOrString]():
		return either
	case reflect.TypeFor[map[string]string]():
		return texts
	case reflect.TypeFor[core.ResourceList]():
		return resources
	}
	if marshals(t) {
		return opaqueJSON
	}
	switch t.Kind() {
	case reflect.String:
		return text
	case reflect.Bool:
		return truth
	case reflect.Float32, reflect.Float64:
		return fraction
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return unsigned
	case reflect.Map:
		return dict
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return blob
		}
		return list
	case reflect.Struct:
		return structure
	case reflect.Interface:
		return opaqueJSON
	}
	return integer
}

// load compiles the fields of a struct type if that has not been done.
func (p *plans) load(s *parts) []part {
	s.once.Do(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		s.list = p.fields(s.in, nil, nil)
		slices.SortFunc(s.list, func(a, b part) int { return strings.Compare(a.name, b.name) })
	})
	return s.list
}

// fields appends the fields of t, which is embedded at the end of way, to out.
func (p *plans) fields(t reflect.Type, way []int, out []part) []part {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := append(slices.Clone(way), i)
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case name == "" && f.Anonymous:
			out = p.fields(f.Type, at, out)
			continue
		case name == "":
			name = f.Name
		case name == "managedFields" && t == reflect.TypeFor[metav1.ObjectMeta]():
			continue // nobody owns those
		}
		has := "," + opts + ","
		q := part{name: name, at: at, empty: strings.Contains(has, ",omitempty,")}
		if strings.Contains(has, ",omitzero,") {
			q.zero = smd.OmitZeroFunc(f.Type)
		}
		mark := p.marks()[typePath(t)+" "+name]
		q.plan = p.field(t, f, mark)
		switch {
		case mark.Default != "":
			q.absent = mark.Default
		case !q.empty:
			q.absent = zeroJSON(f.Type)
		}
		out = append(out, q)
	}
	return out
}

// field is the plan of a field: that of its type, but for what the field itself says.
func (p *plans) field(in reflect.Type, f reflect.StructField, mark markers.Marker) *plan {
	made := p.compile(f.Type)
	r, own := ruleOf(in, f, mark), *made
	switch {
	case made.shape == list && (r.set || r.keys != nil):
		own.atomic, own.set, own.keys = false, r.set, slices.Sorted(slices.Values(r.keys))
	case r.atomic:
		own.atomic = true
	case r.merged:
		own.atomic = false
	default:
		return made
	}
	return &own
}

// zeroJSON is the zero value of a scalar type in JSON; "" for others.
func zeroJSON(t reflect.Type) string {
	switch v := zero(t).(type) {
	case string:
		return `""`
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	}
	return ""
}

// get is the field of a struct.
func (q *part) get(in reflect.Value) reflect.Value {
	if len(q.at) == 1 {
		return in.Field(q.at[0])
	}
	for _, i := range q.at {
		in = in.Field(i)
	}
	return in
}

// omits says whether JSON leaves the field out.
func (q *part) omits(v reflect.Value) bool {
	if q.empty {
		switch v.Kind() {
		case reflect.Slice, reflect.Map, reflect.String:
			return v.Len() == 0
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return true
			}
		case reflect.Bool:
			return !v.Bool()
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			return v.Int() == 0
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			return v.Uint() == 0
		case reflect.Float32, reflect.Float64:
			return v.Float() == 0
		}
	}
	return q.zero != nil && q.zero(v)
}

// untyped is the JSON of a value whose type has its own.
func untyped(v reflect.Value) any {
	b, err := json.Marshal(v.Interface())
	if err != nil {
		return nil
	}
	got, err := smd.FromJSON(b)
	if err != nil {
		return nil
	}
	return got.Unstructured()
}
