package kinds

import (
	"context"

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
}

// Current says whether o is in the version that k serves. Kinds with a Go type are always.
func (k *Kind) Current(o object.Object) bool {
	return k.Custom == nil || o.GetObjectKind().GroupVersionKind().Version == k.Version
}
