package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/owners"
	"proa.dev/kinds"
	"proa.dev/object"
)

// mergers are the field managers of structured-merge-diff, made on first use: their schemas take memory.
type mergers struct {
	mu    sync.Mutex // guards below
	types map[schema.GroupVersionKind]managedfields.TypeConverter
	byUse map[use]*managedfields.FieldManager
}

type use struct {
	schema.GroupVersionKind
	sub string
}

func newMergers() *mergers {
	return &mergers{types: map[schema.GroupVersionKind]managedfields.TypeConverter{}, byUse: map[use]*managedfields.FieldManager{}}
}

// of is the field manager of a kind, in the version of s, and subresource.
func (m *mergers) of(s *Served, sub string) (*managedfields.FieldManager, error) {
	if s.Kind.Custom != nil {
		return s.managers.of(s, sub)
	}
	u := use{s.GVK(), sub}
	m.mu.Lock()
	defer m.mu.Unlock()
	if fm := m.byUse[u]; fm != nil {
		return fm, nil
	}
	types, err := m.merge(s.Kind)
	if err != nil {
		return nil, err
	}
	fm, err := managedfields.NewDefaultFieldManager(types, hubVersions{s}, defaulter{s}, creater{s}, u.GroupVersionKind,
		u.GroupVersion(), sub, libraryResets(s, sub))
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", u.GroupVersionKind, err)
	}
	m.byUse[u] = fm
	return fm, nil
}

// merge says how objects of a kind with a Go type merge, in all its versions. The lock is held.
func (m *mergers) merge(k *kinds.Kind) (managedfields.TypeConverter, error) {
	if types := m.types[k.GVK()]; types != nil {
		return types, nil
	}
	objects := []object.Object{k.New()}
	for _, also := range k.Also {
		objects = append(objects, also.New())
	}
	types, err := owners.Merge(objects...)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", k.GVK(), err)
	}
	m.types[k.GVK()] = types
	return types, nil
}

// Merge says how server-side apply merges the objects of a kind.
func (a *API) Merge(k *kinds.Kind) (managedfields.TypeConverter, error) {
	if k.Custom != nil {
		return k.Custom.Types()
	}
	a.mergers.mu.Lock()
	defer a.mergers.mu.Unlock()
	return a.mergers.merge(k)
}

// managers are the field managers of one custom kind, by subresource.
type managers struct {
	mu    sync.Mutex // guards bySub
	bySub map[string]*managedfields.FieldManager
}

func (m *managers) of(s *Served, sub string) (*managedfields.FieldManager, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fm := m.bySub[sub]; fm != nil {
		return fm, nil
	}
	types, err := s.Kind.Custom.Types()
	if err != nil {
		return nil, err
	}
	fm, err := managedfields.NewDefaultCRDFieldManager(types, versions{s}, defaulter{s}, creater{s}, s.Kind.GVK(), s.GroupVersion(), sub, libraryResets(s, sub))
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", s.Kind.GVK(), err)
	}
	if m.bySub == nil {
		m.bySub = map[string]*managedfields.FieldManager{}
	}
	m.bySub[sub] = fm
	return fm, nil
}

// versions is the conversion between the versions of a custom kind that field managers ask for.
type versions struct{ s *Served }

func (versions) Convert(in, out, _ any) error {
	return fmt.Errorf("convert %T to %T: objects are in the version of the request already", in, out)
}

// ConvertToVersion makes in an object of another version of its kind.
func (v versions) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{u.GroupVersionKind()})
	if !ok {
		return nil, fmt.Errorf("%v is unstructured and is not suitable for converting to %q", u.GroupVersionKind(), to)
	}
	// Each version of the kind has the same conversion.
	made, err := v.s.Kind.Custom.ConvertTo(context.Background(), []object.Object{u}, gvk.Version)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

func (versions) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// libraryResets is resets for structured-merge-diff.
func libraryResets(s *Served, sub string) map[fieldpath.APIVersion]fieldpath.Filter {
	f := s.resets(sub)
	lib := f.Library()
	if lib == nil {
		return nil
	}
	out := map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(s.Kind.GroupVersion().String()): lib}
	for _, also := range s.Kind.Also {
		out[fieldpath.APIVersion(kinds.ParsePath(also.Path).GroupVersion().String())] = lib
	}
	return out
}

// applyPatch is server-side apply: the patch is the whole opinion of its manager. live is the object now, or a new one.
func (a *API) applyPatch(s *Served, sub string, live object.Object, data []byte, opt metav1.PatchOptions) (object.Object, error) {
	p := &unstructured.Unstructured{Object: map[string]any{}}
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: error converting YAML to JSON: %v", err))
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &p.Object); err != nil { // whole numbers stay whole
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: error unmarshaling JSON: while decoding JSON: %v", err))
	}
	if p.GetManagedFields() != nil {
		return nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	m, err := a.mergers.of(s, sub)
	if err != nil {
		return nil, err
	}
	if s.Kind.Custom == nil && len(s.Kind.Also) > 0 {
		forgetVersions(live, opt.FieldManager, sub, s.GroupVersion().String())
	}
	force := opt.Force != nil && *opt.Force
	out, err := m.Apply(live, p, opt.FieldManager, force)
	if status := apierrors.APIStatus(nil); err != nil && !errors.As(err, &status) {
		return nil, plainError(err)
	}
	if err != nil {
		return nil, plain(err)
	}
	o, ok := out.(object.Object)
	if !ok {
		return nil, fmt.Errorf("apply made a %T", out)
	}
	if reflect.TypeOf(o) == reflect.TypeOf(live) { // nothing has changed, or s serves what is stored
		return o, nil
	}
	return s.In(o)
}

// forgetVersions forgets what a manager has applied in other versions than this one: it owns that no more, but Kubernetes does not take it
// away from the object.
func forgetVersions(live object.Object, manager, sub, version string) {
	owners := live.GetManagedFields()
	for i := range owners {
		e := &owners[i]
		if e.Operation == metav1.ManagedFieldsOperationApply && e.Manager == manager && e.Subresource == sub && e.APIVersion != version {
			e.APIVersion, e.FieldsV1 = version, &metav1.FieldsV1{Raw: []byte("{}")}
		}
	}
	live.SetManagedFields(owners)
}

// plain is err as it is sent: a 500 with its own words, unless it says otherwise.
func plain(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}

// hubVersions is the conversion between the versions of a kind with a Go type that field managers ask for.
type hubVersions struct{ s *Served }

func (hubVersions) Convert(in, out, _ any) error {
	return fmt.Errorf("convert %T to %T: field managers ask for versions only", in, out)
}

// ConvertToVersion makes in an object of another version, of its Go type if a merge has left it as a tree.
func (h hubVersions) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	o, err := goTyped(in)
	if err != nil {
		return nil, err
	}
	gv, ok := to.(schema.GroupVersion)
	if !ok || o.GetObjectKind().GroupVersionKind().GroupVersion() == gv {
		return o, nil
	}
	typed, ok := o.(object.Object)
	if !ok {
		return o, nil
	}
	out, err := inVersion(h.s, typed, gv)
	if err == nil && out == nil {
		return nil, runtime.NewNotRegisteredErrForKind("kinds", gv.WithKind(h.s.Kind.Kind))
	}
	return out, err
}

// inVersion is an object of a kind with a Go type in another of its versions; nil if there is no such version in the group of s. (Events
// are in two groups; who owns fields of one does not in the other.)
func inVersion(s *Served, o object.Object, gv schema.GroupVersion) (object.Object, error) {
	k, from := s.Kind, o.GetObjectKind().GroupVersionKind().GroupVersion()
	switch {
	case from == gv:
		return o, nil
	case gv.Group != s.Group:
		return nil, nil
	}
	also := func(gv schema.GroupVersion) *kinds.Other {
		for i := range k.Also {
			if kinds.ParsePath(k.Also[i].Path).GroupVersion() == gv {
				return &k.Also[i]
			}
		}
		return nil
	}
	var err error
	o = o.DeepCopyObject().(object.Object)
	if from != k.GroupVersion() {
		other := also(from)
		if other == nil {
			return nil, nil
		}
		if o, err = other.From(o); err != nil {
			return nil, err
		}
		o.GetObjectKind().SetGroupVersionKind(k.GVK())
	}
	if gv == k.GroupVersion() {
		return o, nil
	}
	other := also(gv)
	if other == nil {
		return nil, nil
	}
	if o, err = other.To(o); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(gv.WithKind(k.Kind))
	return o, nil
}

// goTyped makes the Go type of what a merge has left as a tree.
func goTyped(in runtime.Object) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	o, err := object.Scheme().New(u.GroupVersionKind())
	if runtime.IsNotRegisteredError(err) {
		return in, nil
	}
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", u.GroupVersionKind(), err)
	}
	o.GetObjectKind().SetGroupVersionKind(u.GroupVersionKind())
	return o, nil
}

func (hubVersions) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

type defaulter struct{ s *Served }

func (d defaulter) Default(o runtime.Object) {
	// Other versions than the stored one get their defaults when they have become that.
	if obj, ok := o.(object.Object); ok && (d.s.Kind.Custom != nil || o.GetObjectKind().GroupVersionKind() == d.s.Kind.GVK()) {
		d.s.Kind.Default(obj)
	}
}

type creater struct{ s *Served }

func (c creater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	var o runtime.Object = c.s.Kind.New()
	if gvk != c.s.Kind.GVK() && c.s.Kind.Custom == nil {
		var err error
		if o, err = object.Scheme().New(gvk); err != nil {
			return nil, err
		}
	}
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}
