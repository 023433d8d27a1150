package custom

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/version"

	"proa.dev/kinds"
	"proa.dev/object"
)

// Caller calls a conversion webhook with a ConversionReview and returns what it answers.
type Caller interface {
	Call(ctx context.Context, config *apiextensions.WebhookClientConfig, body []byte) ([]byte, error)
}

// family is the versions of one definition, and what they share.
type family struct {
	def     *apiextensions.CustomResourceDefinition // frozen
	names   apiextensions.CustomResourceDefinitionNames
	schemas map[string]*schemas // by version
	stored  *kinds.Kind
	caller  Caller
	all     []*kinds.Kind
}

// Kinds makes the kinds of d, which is frozen: the one that is stored, and those that are served. closing says that nothing new
// may be made of them.
func Kinds(d *apiextensions.CustomResourceDefinition, caller Caller, closing bool) (stored *kinds.Kind, served []*kinds.Kind, err error) {
	f := &family{def: d, names: d.Status.AcceptedNames, schemas: map[string]*schemas{}, caller: caller}
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		f.schemas[v.Name] = newSchemas(v, d)
	}
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		k := f.kind(v, closing)
		f.all = append(f.all, k)
		if v.Storage {
			f.stored = k
		}
		if v.Served {
			served = append(served, k)
		}
	}
	if f.stored == nil {
		return nil, nil, fmt.Errorf("%s stores no version", d.Name)
	}
	for _, k := range f.all {
		k.Custom.Stored = f.stored
	}
	slices.SortFunc(served, func(a, b *kinds.Kind) int { return -version.CompareKubeAwareVersionStrings(a.Version, b.Version) })
	return f.stored, served, nil
}

// kind is one version.
func (f *family) kind(v *apiextensions.CustomResourceDefinitionVersion, closing bool) *kinds.Kind {
	d := f.def
	k := &kinds.Kind{
		Singular: f.names.Singular, Short: f.names.ShortNames, Categories: f.names.Categories, Verbs: kinds.AllVerbs,
		Storage: d.Spec.Group + "/" + d.Spec.Names.Plural, Generation: true, Versioned: true, Name: kinds.SubdomainName,
	}
	k.Group, k.Version, k.Resource.Resource, k.Resource.Kind = d.Spec.Group, v.Name, f.names.Plural, f.names.Kind
	k.Namespaced = d.Spec.Scope == apiextensions.NamespaceScoped
	s := f.schemas[v.Name]
	k.Custom = &kinds.Custom{
		ListKind: f.names.ListKind, Closing: closing, Warning: f.warning(v), Coerce: f.coerce, Prune: f.prune,
		Hooked: f.hooked(), ConvertTo: f.unpruned, Types: s.types(k, d), Schemas: s.openapi(k, d), Digest: fmt.Sprint(d.UID, d.Generation),
	}
	k.Custom.Convert = func(ctx context.Context, objects []object.Object) ([]object.Object, error) {
		return f.convert(ctx, objects, v.Name)
	}
	gvk := k.GVK()
	k.New = func() object.Object {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
	f.subresources(k, v)
	k.Columns, k.Row = table(v)
	k.Fields = selectable(v)
	k.Default = f.fill
	k.Prepare = func(o, _ object.Object) { f.prune(o.(*unstructured.Unstructured)) }
	k.PrepareStatus = k.Prepare
	check := &checks{kind: k, schemas: s, scale: scaleOf(v)}
	k.Validate = func(object.Object) field.ErrorList { return nil }
	k.ValidateCreate = check.create
	k.ValidateUpdate = check.update
	k.ValidateStatus = check.status
	k.Warn = warnFinalizers
	k.Grace = func(object.Object, *metav1.DeleteOptions) int64 { return 0 }
	return k
}

func scaleOf(v *apiextensions.CustomResourceDefinitionVersion) *apiextensions.CustomResourceSubresourceScale {
	if v.Subresources == nil {
		return nil
	}
	return v.Subresources.Scale
}

func (f *family) subresources(k *kinds.Kind, v *apiextensions.CustomResourceDefinitionVersion) {
	k.Status = v.Subresources != nil && v.Subresources.Status != nil
	sc := scaleOf(v)
	if sc == nil {
		return
	}
	at := fields(sc.SpecReplicasPath)
	k.Custom.ReplicasPath = at
	k.Scale = &kinds.Scale[object.Object]{
		Get: func(o object.Object) kinds.ScaleInfo {
			content := o.(*unstructured.Unstructured).Object
			var info kinds.ScaleInfo
			if n, ok, err := unstructured.NestedInt64(content, at...); ok && err == nil {
				info.Spec = int32(n)
			}
			if n, ok, err := unstructured.NestedInt64(content, fields(sc.StatusReplicasPath)...); ok && err == nil {
				info.Status = int32(n)
			}
			if sc.LabelSelectorPath != nil && *sc.LabelSelectorPath != "" {
				info.Selector, _, _ = unstructured.NestedString(content, fields(*sc.LabelSelectorPath)...)
			}
			return info
		},
		Set: func(o object.Object, n int32) {
			// It fails where something on the way is no map, and then validation says so.
			_ = unstructured.SetNestedField(o.(*unstructured.Unstructured).Object, int64(n), at...)
		},
	}
}

// fields splits ".spec.replicas".
func fields(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// warning is what users of a deprecated version are told.
func (f *family) warning(v *apiextensions.CustomResourceDefinitionVersion) string {
	switch {
	case !v.Deprecated:
		return ""
	case v.DeprecationWarning != nil:
		return *v.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", f.def.Spec.Group, v.Name, f.def.Spec.Names.Kind)
	best := ""
	for i := range f.def.Spec.Versions {
		o := &f.def.Spec.Versions[i]
		if o.Served && !o.Deprecated && version.CompareKubeAwareVersionStrings(v.Name, o.Name) < 0 &&
			(best == "" || version.CompareKubeAwareVersionStrings(best, o.Name) < 0) {
			best = o.Name
		}
	}
	if best != "" {
		text += fmt.Sprintf("; use %s/%s %s", f.def.Spec.Group, best, f.def.Spec.Names.Kind)
	}
	return text
}

// age is how a table shows a date.
func age(v any, now time.Time) any {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	var t metav1.Time
	if err := t.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	return kinds.Age(t, now)
}
