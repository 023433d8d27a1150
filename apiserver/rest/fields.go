package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"proa.dev/kinds"
	"proa.dev/object"
)

// Field ownership (KEP-555). Who owns which field is written down from the first server-side apply of an object on: before that
// there is nobody to conflict with, and objects that are never applied that way, which is nearly all, neither pay for
// the bookkeeping nor carry it. The first apply enters all that was there before as "before-first-apply".

// trackers are the field managers, made on first use: their schema takes memory.
type trackers struct {
	schema func() (managedfields.TypeConverter, error)
	mu     sync.Mutex // guards byUse
	byUse  map[use]*managedfields.FieldManager
}

type use struct {
	schema.GroupVersionKind
	sub string
}

func newTrackers(list []*kinds.Kind) *trackers {
	return &trackers{
		schema: sync.OnceValues(func() (managedfields.TypeConverter, error) { return mergeSchema(list) }),
		byUse:  map[use]*managedfields.FieldManager{},
	}
}

// of is the field manager of a kind and subresource.
func (t *trackers) of(s *Served, sub string) (*managedfields.FieldManager, error) {
	if s.Kind.Custom != nil {
		return s.managers.of(s, sub)
	}
	u := use{s.Kind.GVK(), sub}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.byUse[u]; m != nil {
		return m, nil
	}
	types, err := t.schema()
	if err != nil {
		return nil, err
	}
	m, err := managedfields.NewDefaultFieldManager(types, sameVersion{}, defaulter{s}, creater{s}, u.GroupVersionKind,
		u.GroupVersion(), sub, resetFields(s, sub))
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", u.GroupVersionKind, err)
	}
	t.byUse[u] = m
	return m, nil
}

// Merge says how server-side apply merges the objects of a kind.
func (a *API) Merge(k *kinds.Kind) (managedfields.TypeConverter, error) {
	if k.Custom != nil {
		return k.Custom.Types()
	}
	return a.fields.schema()
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
	fm, err := managedfields.NewDefaultCRDFieldManager(types, versions{s}, defaulter{s}, creater{s}, s.Kind.GVK(), s.GroupVersion(), sub, resetFields(s, sub))
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

// resetFields are the fields that a write to sub does not own, because it cannot change them.
func resetFields(s *Served, sub string) map[fieldpath.APIVersion]fieldpath.Filter {
	if !s.Kind.Status {
		return nil
	}
	out := fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
	if sub == "status" {
		out = fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
		if s.Kind.Custom != nil {
			out = fieldpath.NewSet(fieldpath.MakePathOrDie("metadata"), fieldpath.MakePathOrDie("spec"))
		}
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(s.Kind.GroupVersion().String()): fieldpath.NewExcludeSetFilter(out)}
}

// trackFields writes the managed fields of o, which replaces old.
func (a *API) trackFields(ctx context.Context, s *Served, c change, old, o object.Object) {
	if c.apply {
		return
	}
	given := o.GetManagedFields()
	cleared := len(given) == 1 && given[0].Manager == "" && given[0].Operation == "" // the documented way to stop the bookkeeping
	if cleared || len(old.GetManagedFields()) == 0 {
		o.SetManagedFields(nil)
		return
	}
	if len(given) == 0 {
		o.SetManagedFields(old.GetManagedFields())
	}
	m, err := a.fields.of(s, c.target.Sub)
	if err != nil {
		a.log.Error("track field owners", "kind", s.Kind.Kind, "err", err)
		o.SetManagedFields(old.GetManagedFields())
		return
	}
	live := old.DeepCopyObject()
	out := m.UpdateNoErrors(live, o, manager(ctx, c.options.FieldManager))
	if got, err := meta.Accessor(out); err == nil {
		o.SetManagedFields(got.GetManagedFields())
	}
}

// applyPatch is server-side apply: the patch is the whole opinion of its manager. live is the object now, or a new one.
func (a *API) applyPatch(s *Served, sub string, live object.Object, data []byte, opt metav1.PatchOptions) (object.Object, error) {
	p := &unstructured.Unstructured{Object: map[string]any{}}
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: error converting YAML to JSON: %v", err))
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &p.Object); err != nil { // whole numbers stay whole
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if p.GetManagedFields() != nil {
		return nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	m, err := a.fields.of(s, sub)
	if err != nil {
		return nil, err
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
	return o, nil
}

// plain is err as it is sent: a 500 with its own words, unless it says otherwise.
func plain(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}

type managerKey struct{}

// WithManager is ctx with the name of the client, for requests that name no field manager.
func WithManager(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, managerKey{}, name)
}

func manager(ctx context.Context, given string) string {
	if given != "" {
		return given
	}
	if name, ok := ctx.Value(managerKey{}).(string); ok && name != "" {
		return name
	}
	return "unknown"
}

// sameVersion is the conversion between versions that field managers ask for. Objects are always in the stored version.
type sameVersion struct{}

func (sameVersion) Convert(in, out, _ any) error {
	return fmt.Errorf("convert %T to %T: objects are in the stored version already", in, out)
}

// ConvertToVersion makes the Go type of what a merge has left as a tree.
func (sameVersion) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
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
		return nil, apierrors.NewBadRequest(err.Error())
	}
	o.GetObjectKind().SetGroupVersionKind(u.GroupVersionKind())
	return o, nil
}

func (sameVersion) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

type defaulter struct{ s *Served }

func (d defaulter) Default(o runtime.Object) {
	if obj, ok := o.(object.Object); ok {
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
