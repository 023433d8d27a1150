package custom

import (
	"strings"
	"sync"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"proa.dev/kinds"
)

const (
	metaModel   = "io.k8s.apimachinery.pkg.apis.meta.v1."
	refV2       = "#/definitions/"
	refV3       = "#/components/schemas/"
	conventions = " More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#"
)

// openapi is kinds.Custom.Schemas.
func (s *schemas) openapi(k *kinds.Kind, d *apiextensions.CustomResourceDefinition) func(v3 bool) (map[string]any, error) {
	version := k.Version
	return func(v3 bool) (map[string]any, error) {
		m := modelOf(d, version, v3)
		if v3 {
			wrapRefs(m)
		}
		if f := selectableFields(d, version); f != nil {
			m.AddExtension("x-kubernetes-selectable-fields", f)
		}
		return tree(m)
	}
}

// modelOf is the schema of one version as clients are told it: with the metadata of every object, and in v2 without what v2 cannot say.
func modelOf(d *apiextensions.CustomResourceDefinition, version string, v3 bool) *spec.Schema {
	out := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	st := published(d, version)
	if st != nil && (v3 || !st.XPreserveUnknownFields && !d.Spec.PreserveUnknownFields) {
		if !v3 {
			st = openapiv2.ToStructuralOpenAPIV2(st)
			noDefaults := schema.Visitor{Structural: func(s *schema.Structural) bool { s.Default.Object = nil; return true }}
			noDefaults.Visit(st)
		}
		out = st.ToKubeOpenAPI()
		out.SetProperty("metadata", metaRef(v3))
		typeMeta(out)
		embedded(out, v3)
	}
	gvk := map[string]any{"group": d.Spec.Group, "version": version, "kind": d.Spec.Names.Kind}
	out.AddExtension("x-kubernetes-group-version-kind", []any{gvk})
	return out
}

// published is the structural schema of a version, unfolded; nil if it has none.
func published(d *apiextensions.CustomResourceDefinition, version string) *schema.Structural {
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if v.Name != version || v.Schema == nil {
			continue
		}
		in := internal(v.Schema.OpenAPIV3Schema)
		if in == nil || validation.SchemaHasInvalidTypes(in) {
			return nil
		}
		st, err := schema.NewStructural(in)
		if err != nil || len(schema.ValidateStructural(nil, st)) > 0 {
			return nil
		}
		return st.Unfold()
	}
	return nil
}

// selectableFields is the field selectors of a version, as clients are told of them.
func selectableFields(d *apiextensions.CustomResourceDefinition, version string) (out []any) {
	for _, v := range d.Spec.Versions {
		if v.Name != version {
			continue
		}
		for _, f := range v.SelectableFields {
			out = append(out, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
		}
	}
	return out
}

// wrapRefs makes room for descriptions beside references: OpenAPI 3.0 ignores what stands beside $ref.
func wrapRefs(s *spec.Schema) {
	if s == nil {
		return
	}
	if s.Ref.String() != "" {
		s.AllOf, s.Ref = []spec.Schema{*spec.RefSchema(s.Ref.String())}, spec.Ref{}
		return
	}
	for name := range s.Properties {
		p := s.Properties[name]
		wrapRefs(&p)
		s.Properties[name] = p
	}
	if s.Items != nil {
		wrapRefs(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		wrapRefs(s.AdditionalProperties.Schema)
	}
}

func metaRef(v3 bool) spec.Schema {
	prefix := refV2
	if v3 {
		prefix = refV3
	}
	return *spec.RefSchema(prefix + metaModel + "ObjectMeta").WithDescription(metav1.PartialObjectMetadata{}.SwaggerDoc()["metadata"])
}

func typeMeta(s *spec.Schema) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	for _, name := range []string{"apiVersion", "kind"} {
		s.SetProperty(name, *spec.StringProperty().WithDescription(docs[name]))
	}
}

// embedded adds the metadata of objects inside objects.
func embedded(s *spec.Schema, v3 bool) {
	if s == nil {
		return
	}
	for name := range s.Properties {
		p := s.Properties[name]
		embedded(&p, v3)
		s.Properties[name] = p
	}
	if s.Items != nil {
		embedded(s.Items.Schema, v3)
	}
	if s.AdditionalProperties != nil {
		embedded(s.AdditionalProperties.Schema, v3)
	}
	if keeps, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); keeps && !v3 {
		return // kubectl would refuse what is not named
	}
	if is, _ := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !is {
		return
	}
	s.SetProperty("apiVersion", *spec.StringProperty().WithDescription("apiVersion defines the versioned schema of this representation of an object." + conventions + "resources"))
	s.SetProperty("kind", *spec.StringProperty().WithDescription("kind is a string value representing the type of this object. In CamelCase." + conventions + "types-kinds"))
	s.SetProperty("metadata", metaRef(v3))
	required := strings.Join(s.Required, " ")
	for _, name := range []string{"kind", "apiVersion"} {
		if !strings.Contains(" "+required+" ", " "+name+" ") {
			s.Required = append(s.Required, name)
		}
	}
}

// types is kinds.Custom.Types: server-side apply knows all versions of a kind, since an object's fields may have been set in any.
func (s *schemas) types(k *kinds.Kind, d *apiextensions.CustomResourceDefinition) func() (managedfields.TypeConverter, error) {
	return sync.OnceValues(func() (managedfields.TypeConverter, error) {
		models := metaModels()
		for i := range d.Spec.Versions {
			name := d.Spec.Versions[i].Name
			models[ModelName(d.Spec.Group, name, d.Spec.Names.Kind)] = modelOf(d, name, true)
		}
		return managedfields.NewTypeConverter(models, d.Spec.PreserveUnknownFields)
	})
}

// metaModels is how the metadata of objects merges.
func metaModels() map[string]*spec.Schema {
	text := func() *spec.Schema { return spec.StringProperty() }
	object := func(props map[string]*spec.Schema) *spec.Schema {
		s := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
		for name, p := range props {
			s.SetProperty(name, *p)
		}
		return s
	}
	with := func(s *spec.Schema, key string, value any) *spec.Schema { s.AddExtension(key, value); return s }
	number := spec.Int64Property()
	ref := func(name string) *spec.Schema { return spec.RefSchema(refV3 + metaModel + name) }
	owners := with(spec.ArrayProperty(ref("OwnerReference")), "x-kubernetes-list-type", "map")
	return map[string]*spec.Schema{
		metaModel + "ObjectMeta": object(map[string]*spec.Schema{
			"name": text(), "generateName": text(), "namespace": text(), "selfLink": text(), "uid": text(), "resourceVersion": text(),
			"generation": number, "creationTimestamp": ref("Time"), "deletionTimestamp": ref("Time"), "deletionGracePeriodSeconds": number,
			"labels": spec.MapProperty(text()), "annotations": spec.MapProperty(text()),
			"ownerReferences": with(owners, "x-kubernetes-list-map-keys", []any{"uid"}),
			"finalizers":      with(spec.ArrayProperty(text()), "x-kubernetes-list-type", "set"),
			"managedFields":   with(spec.ArrayProperty(ref("ManagedFieldsEntry")), "x-kubernetes-list-type", "atomic"),
		}),
		metaModel + "Time": spec.StrFmtProperty("date-time"),
		metaModel + "OwnerReference": with(object(map[string]*spec.Schema{
			"apiVersion": text(), "kind": text(), "name": text(), "uid": text(), "controller": spec.BoolProperty(), "blockOwnerDeletion": spec.BoolProperty(),
		}), "x-kubernetes-map-type", "atomic"),
		metaModel + "FieldsV1": object(nil),
		metaModel + "ManagedFieldsEntry": object(map[string]*spec.Schema{
			"manager": text(), "operation": text(), "apiVersion": text(), "time": ref("Time"), "fieldsType": text(), "fieldsV1": ref("FieldsV1"), "subresource": text(),
		}),
	}
}
