package owners_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"proa.dev/apiserver/owners"
	"proa.dev/kinds"
	"proa.dev/kinds/all"
	"proa.dev/object"
)

// asIs is the conversion, the defaults and the creation that the library asks for.
type asIs struct{ k *kinds.Kind }

func (asIs) Convert(_, _, _ any) error { return nil }
func (asIs) Default(runtime.Object)    {}
func (a asIs) ConvertToVersion(o runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if to != a.k.GroupVersion() {
		return nil, runtime.NewNotRegisteredErrForTarget("test", reflect.TypeOf(o), to)
	}
	return o, nil
}
func (asIs) ConvertFieldLabel(_ schema.GroupVersionKind, l, v string) (string, string, error) {
	return l, v, nil
}
func (a asIs) New(schema.GroupVersionKind) (runtime.Object, error) { return a.k.New(), nil }

func library(t testing.TB, k *kinds.Kind, types managedfields.TypeConverter, sub string, f owners.Filter) *managedfields.FieldManager {
	t.Helper()
	var filters map[fieldpath.APIVersion]fieldpath.Filter
	if lib := f.Library(); lib != nil {
		filters = map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(k.GroupVersion().String()): lib}
	}
	a := asIs{k}
	m, err := managedfields.NewDefaultFieldManager(types, a, a, a, k.GVK(), k.GroupVersion(), sub, filters)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// filler fills objects with what comes to its mind.
type filler struct{ *rand.Rand }

func (f filler) fill(v reflect.Value, depth int) {
	switch v.Type() {
	case reflect.TypeFor[metav1.Time]():
		v.Set(reflect.ValueOf([]metav1.Time{{}, metav1.Unix(1700000000, 0), metav1.Unix(1700000001, 5)}[f.IntN(3)]))
		return
	case reflect.TypeFor[metav1.MicroTime]():
		v.Set(reflect.ValueOf([]metav1.MicroTime{{}, metav1.NewMicroTime(time.Unix(1700000000, 1000)), metav1.NewMicroTime(time.Unix(1700000000, 2500))}[f.IntN(3)]))
		return
	case reflect.TypeFor[resource.Quantity]():
		v.Set(reflect.ValueOf(resource.MustParse([]string{"1", "1000m", "2Gi", "0"}[f.IntN(4)])))
		return
	case reflect.TypeFor[intstr.IntOrString]():
		v.Set(reflect.ValueOf([]intstr.IntOrString{intstr.FromInt32(1), intstr.FromString("1"), intstr.FromString("50%")}[f.IntN(3)]))
		return
	case reflect.TypeFor[runtime.RawExtension]():
		v.Set(reflect.ValueOf(runtime.RawExtension{Raw: []byte([]string{`{"a":1,"b":{"c":[1,2]}}`, `{"a":2}`, `{}`, `{"b":{"c":[1,2],"d":null}}`}[f.IntN(4)])}))
		return
	case reflect.TypeFor[metav1.FieldsV1]():
		return
	case reflect.TypeFor[apiextensions.JSONSchemaProps](): // it holds itself in many places
		if depth > 6 {
			return
		}
	}
	if v.CanAddr() {
		if _, ok := v.Addr().Interface().(json.Unmarshaler); ok && v.Kind() == reflect.Struct {
			return // the schemas in custom resource definitions: owned as a whole
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if f.IntN(3) > 0 && depth < 9 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if tf := v.Type().Field(i); tf.IsExported() && tf.Name != "ManagedFields" && tf.Name != "TypeMeta" && f.IntN(4) > 0 {
				f.fill(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		n := []int{0, 1, 1, 2, 3, 5}[f.IntN(6)]
		if depth > 9 {
			n = 0
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		n := f.IntN(4)
		if depth > 9 {
			n = 0
		}
		for range n {
			key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key, depth+1)
			f.fill(val, depth+1)
			v.SetMapIndex(key, val)
		}
	case reflect.String:
		v.SetString([]string{"a", "b", "a.b/c", "", "ä\"<\\>", "z z", "10", "\n"}[min(f.IntN(12), 7)%8])
		if f.IntN(3) > 0 {
			v.SetString([]string{"a", "b", "c", "dd"}[f.IntN(4)])
		}
	case reflect.Bool:
		v.SetBool(f.IntN(2) == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{0, 1, 80, 443, 8080, -1}[f.IntN(6)])
	case reflect.Uint8:
		v.SetUint(uint64(f.IntN(200)))
	case reflect.Float64:
		v.SetFloat(float64(f.IntN(3)) / 2)
	}
}

// change makes another object of one.
func (f filler) change(o object.Object) object.Object {
	n := o.DeepCopyObject().(object.Object)
	f.alter(reflect.ValueOf(n).Elem(), 0)
	n.SetManagedFields(o.GetManagedFields())
	return n
}

// alter fills some places anew.
func (f filler) alter(v reflect.Value, depth int) {
	if v.Kind() == reflect.Struct && v.NumField() > 0 && !v.Type().Implements(reflect.TypeFor[json.Marshaler]()) {
		for range 1 + f.IntN(3) {
			i := f.IntN(v.NumField())
			if tf := v.Type().Field(i); !tf.IsExported() || tf.Name == "TypeMeta" || tf.Name == "ManagedFields" {
				continue
			}
			f.alter(v.Field(i), depth+1)
		}
		return
	}
	switch {
	case v.Kind() == reflect.Slice && v.Len() > 0 && f.IntN(3) > 0:
		switch f.IntN(4) {
		case 0:
			v.Set(v.Slice(0, v.Len()-1))
		case 1:
			v.Set(reflect.Append(v, v.Index(f.IntN(v.Len())))) // a duplicate
		default:
			f.alter(v.Index(f.IntN(v.Len())), depth+1)
		}
	case v.Kind() == reflect.Pointer && !v.IsNil() && f.IntN(3) > 0:
		f.alter(v.Elem(), depth+1)
	default:
		v.SetZero()
		f.fill(v, depth)
	}
}

var past = metav1.Unix(1600000000, 0)

// aged is entries with times of the past, so that those that a write changes can be told.
func aged(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out := slices.Clone(entries)
	for i := range out {
		out[i].Time = &past
	}
	return out
}

// shown is entries for comparison.
func shown(entries []metav1.ManagedFieldsEntry) (out []string) {
	for _, e := range entries {
		age := "new"
		if e.Time.Equal(&past) {
			age = "old"
		}
		raw := "none"
		if e.FieldsV1 != nil {
			raw = string(e.FieldsV1.GetRawBytes())
		}
		out = append(out, fmt.Sprintf("%s %s %s %q %s %s %s", e.Manager, e.Operation, e.APIVersion, e.Subresource, e.FieldsType, age, raw))
	}
	return out
}

// pairing is the tracker and the library side by side, for one kind.
type pairing struct {
	k         *kinds.Kind
	tracker   *owners.Tracker
	filters   map[string]owners.Filter // by subresource
	reference map[string]*managedfields.FieldManager
}

func pairUp(t testing.TB, k *kinds.Kind, tracker *owners.Tracker) pairing {
	p := pairing{k: k, tracker: tracker, reference: map[string]*managedfields.FieldManager{}, filters: map[string]owners.Filter{
		"":       owners.Without([]string{"status"}),
		"status": owners.Without([]string{"spec"}, []string{"metadata", "labels"}),
		"resize": owners.Only([]string{"spec", "containers", owners.Any, "resources"}, []string{"metadata", "labels"}),
		"other":  {},
	}}
	types, err := owners.Merge(k.New())
	if err != nil {
		t.Fatal(err)
	}
	for sub, f := range p.filters {
		p.reference[sub] = library(t, k, types, sub, f)
	}
	return p
}

// step is one write with both; the result is the object as the tracker leaves it.
func (p pairing) step(t testing.TB, old, now object.Object, sub, manager string) object.Object {
	t.Helper()
	was := old
	if was == nil {
		was = p.k.New()
	}
	was.GetObjectKind().SetGroupVersionKind(p.k.GVK())
	now.GetObjectKind().SetGroupVersionKind(p.k.GVK())
	theirs := now.DeepCopyObject().(object.Object)
	m, err := meta(p.reference[sub].Update(was.DeepCopyObject(), theirs, manager))
	if err != nil {
		m = was.GetManagedFields()
	}
	got, ours := p.tracker.Update(owners.Write{Old: old, New: now, APIVersion: p.k.GroupVersion().String(), Subresource: sub, Manager: manager,
		Filter: p.filters[sub], Now: time.Now()})
	if ours != nil {
		got = was.GetManagedFields()
	}
	if (err == nil) != (ours == nil) {
		t.Fatalf("%s: the library says %v, the tracker %v", p.k.Kind, err, ours)
	}
	if diff := cmp.Diff(shown(m), shown(got)); diff != "" {
		a, _ := json.Marshal(was)
		b, _ := json.Marshal(now)
		t.Fatalf("%s, subresource %q, -library +tracker:\n%s\nold %s\nnew %s", p.k.Kind, sub, diff, a, b)
	}
	now.SetManagedFields(aged(got))
	return now
}

func meta(o runtime.Object, err error) ([]metav1.ManagedFieldsEntry, error) {
	if err != nil {
		return nil, err
	}
	return o.(object.Object).GetManagedFields(), nil
}

// The tracker and the library agree on every built-in kind.
func TestLikeTheLibrary(t *testing.T) {
	tracker := owners.New(owners.NewShares())
	subs, managers := []string{"", "status", "resize", "other"}, []string{"a", "b", "c", "kubelet"}
	kindsSeen, writes := 0, 0
	for _, k := range all.Kinds() {
		if k.Virtual {
			continue
		}
		kindsSeen++
		p := pairUp(t, k, tracker)
		for seed := range uint64(12) {
			f := filler{rand.New(rand.NewPCG(seed, 1))}
			o := k.New()
			f.fill(reflect.ValueOf(o).Elem(), 0)
			o.SetUID("u")
			o = p.step(t, nil, o, "", "creator")
			for range 10 {
				next := f.change(o)
				if f.IntN(8) == 0 {
					f.fill(reflect.ValueOf(next).Elem(), 0)
				}
				next.SetUID("u")
				o = p.step(t, o, next, subs[f.IntN(4)], managers[f.IntN(4)])
				writes++
			}
		}
	}
	if kindsSeen < 50 || writes < 1000 {
		t.Errorf("only %d kinds and %d writes were compared", kindsSeen, writes)
	}
}

func kindOf(t testing.TB, o object.Object) *kinds.Kind {
	t.Helper()
	for _, k := range all.Kinds() {
		if reflect.TypeOf(k.New()) == reflect.TypeOf(o) {
			return k
		}
	}
	t.Fatalf("no kind has %T", o)
	return nil
}

// What clients send as managed fields is taken, or not, as the library does.
func TestGivenFields(t *testing.T) {
	p := pairUp(t, kindOf(t, &core.ConfigMap{}), owners.New(owners.NewShares()))
	entry := func(manager string, op metav1.ManagedFieldsOperationType, version, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, APIVersion: version, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields), Time: &past}
	}
	bare := entry("a", "Update", "v1", `{"f:data":{"f:x":{}}}`)
	bare.FieldsV1 = nil
	untyped := entry("a", "Update", "v1", `{}`)
	untyped.FieldsType = ""
	for name, given := range map[string][]metav1.ManagedFieldsEntry{
		"none":          nil,
		"cleared":       {{}},
		"empty":         {},
		"valid":         {entry("a", "Update", "v1", `{"f:data":{"f:x":{},"f:y":{}}}`)},
		"not in order":  {entry("a", "Update", "v1", `{"f:data":{"f:y":{},"f:x":{}}, "f:binaryData":{".":{}}}`)},
		"unknown":       {entry("a", "Update", "v1", `{"f:data":{"f:x":{}},"q:what":{},"f:nothing":{"k:{\"b\":1.50,\"a\":null}":{}}}`)},
		"broken":        {entry("a", "Update", "v1", `{"f:data":{`)},
		"no object":     {entry("a", "Update", "v1", `null`)},
		"operation":     {entry("a", "Delete", "v1", `{"f:data":{}}`)},
		"no version":    {entry("a", "Update", "", `{"f:data":{}}`)},
		"old version":   {entry("a", "Update", "v0", `{"f:data":{}}`), entry("b", "Update", "v1", `{"f:data":{}}`)},
		"nil":           {bare},
		"untyped":       {untyped},
		"twice":         {entry("a", "Apply", "v1", `{"f:data":{"f:x":{}}}`), entry("a", "Apply", "v1", `{"f:data":{"f:z":{}}}`)},
		"atomic before": {entry("a", "Update", "v1", `{"f:immutable":{"f:x":{}},"f:metadata":{"f:ownerReferences":{"k:{\"uid\":\"1\"}":{"f:kind":{}}}}}`)},
		"escapes":       {entry("a", "Update", "v1", `{"f:data":{"f:x\ty\u0001\"\\":{},"f:ä":{},"f:\u00e4b":{}}}`)},
	} {
		for _, change := range []bool{false, true} {
			old := &core.ConfigMap{Data: map[string]string{"x": "1", "y": "2", "z": "3"}}
			old.UID = "u"
			old.ManagedFields = []metav1.ManagedFieldsEntry{entry("stored", "Update", "v1", `{"f:data":{".":{},"f:x":{}}}`)}
			now := old.DeepCopy()
			if now.ManagedFields = given; change {
				now.Data["x"] = "new"
			}
			t.Run(fmt.Sprint(name, " ", change), func(t *testing.T) {
				p.step(t, old, now.DeepCopy(), "", "me")
				p.step(t, old, now.DeepCopy(), "status", "me")
				made := now.DeepCopy()
				made.UID = ""
				p.step(t, nil, made, "", "me")
			})
		}
	}
}

// More than ten updaters become one, as with the library.
func TestManyManagers(t *testing.T) {
	p := pairUp(t, kindOf(t, &core.ConfigMap{}), owners.New(owners.NewShares()))
	for _, name := range []string{"m%02d", "a%02d", "zz%02d"} {
		var o object.Object = &core.ConfigMap{Data: map[string]string{"x": "1"}}
		o.SetUID("u")
		o = p.step(t, nil, o, "", "creator")
		for i := range 30 {
			next := o.DeepCopyObject().(*core.ConfigMap)
			next.Data[fmt.Sprint(i)] = "x"
			next.Data[fmt.Sprint(i/4)] = fmt.Sprint(i)
			o = p.step(t, o, next, []string{"", "other"}[i%2], fmt.Sprintf(name, i))
			if n := len(o.GetManagedFields()); n > 10 {
				t.Fatalf("%d managers after %d writes", n, i)
			}
		}
	}
}

// In a list that is owned as a whole, an empty list is another thing than none, as is another notation of a quantity.
func TestListsAsTheyAre(t *testing.T) {
	p := pairUp(t, kindOf(t, &rbac.ClusterRole{}), owners.New(owners.NewShares()))
	o := p.step(t, nil, &rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Rules: []rbac.PolicyRule{{Verbs: []string{"get"}}}}, "", "creator")
	next := o.DeepCopyObject().(*rbac.ClusterRole)
	next.Rules[0].Resources = []string{}
	p.step(t, o, next, "", "other")
	if fields := next.ManagedFields; len(fields) != 1 || fields[0].Manager != "other" {
		t.Errorf("an empty list that was given: %v", shown(fields))
	}
	s := pairUp(t, kindOf(t, &resourcev1.ResourceSlice{}), owners.New(owners.NewShares()))
	slice := func(n string) object.Object {
		return &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: resourcev1.ResourceSliceSpec{Devices: []resourcev1.Device{{Name: "d",
			Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"c": {Value: resource.MustParse(n)}}}}}}
	}
	o = s.step(t, nil, slice("1"), "", "creator")
	again := slice("1")
	again.SetManagedFields(o.GetManagedFields())
	capacity := again.(*resourcev1.ResourceSlice).Spec.Devices[0].Capacity
	remembers := capacity["c"]
	_ = remembers.Value.String()
	capacity["c"] = remembers
	if o = s.step(t, o, again, "", "other"); len(o.GetManagedFields()) != 1 {
		t.Errorf("nothing was changed: %v", shown(o.GetManagedFields()))
	}
	again = slice("1000m")
	again.SetManagedFields(o.GetManagedFields())
	if o = s.step(t, o, again, "", "other"); len(o.GetManagedFields()) != 1 || o.GetManagedFields()[0].Manager != "other" {
		t.Errorf("another notation: %v", shown(o.GetManagedFields()))
	}
}
