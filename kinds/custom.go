package kinds

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"proa.dev/object"
)

// Custom is what a kind of a CustomResourceDefinition has in the place of a Go type. Its objects are *unstructured.Unstructured. Each
// version of such a kind is a Kind of its own, with the same Storage: versions differ in schema, columns and subresources. The cache
// keeps objects in the version that they were stored in.
type Custom struct {
	// Stored is the Kind of the version in which objects are stored; it may not be served itself.
	Stored *Kind
	// Convert makes objects of any version of the kind those of this one, in the same order. Objects that are of this version
	// already are returned as they are; the others are new. Errors are ready to be sent.
	Convert func(ctx context.Context, objects []object.Object) ([]object.Object, error)
	// ConvertTo is Convert to any version of the kind, served or not, for field managers: what that version does not know stays, so that
	// they find it, as Kubernetes' do.
	ConvertTo func(ctx context.Context, objects []object.Object, version string) ([]object.Object, error)
	// Coerce does to an object of any version what decoding does to a Go type: it drops what the schema does not know and checks
	// metadata. It returns the paths of what it has dropped, where those are asked for.
	Coerce func(o *unstructured.Unstructured, paths bool) (unknown []string, err error)
	// Prune is Coerce of what is stored already: what is malformed is dropped, too.
	Prune func(o *unstructured.Unstructured)
	// Types says how server-side apply merges; it is made on first use.
	Types func() (managedfields.TypeConverter, error)
	// Schemas is the OpenAPI schema of this version, v3 or v2, as a JSON tree; the caller may change it.
	Schemas func(v3 bool) (map[string]any, error)
	// Digest changes with whatever Schemas returns.
	Digest string

	// Hooked says that Convert asks a webhook: it costs a call, and may change labels.
	Hooked bool

	ListKind     string
	ReplicasPath []string // where Scale keeps the wanted count
	Closing      bool     // the definition is being deleted: nothing new may be made
	Warning      string   // what every request is warned of: the version is deprecated; "" is nothing
}

// Current says whether o is in the version that k serves. Kinds with a Go type are always.
func (k *Kind) Current(o object.Object) bool {
	return k.Custom == nil || o.GetObjectKind().GroupVersionKind().Version == k.Version
}
