package rest

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/codec"
)

// FieldErrors does with unknown and duplicate fields what fieldValidation says: refuse the request (Strict), warn (Warn, the
// default), or nothing (Ignore).
func FieldErrors(ctx context.Context, gvk schema.GroupVersionKind, strict []error, validation string) error {
	if len(strict) == 0 {
		return nil
	}
	switch validation {
	case metav1.FieldValidationStrict:
		return codec.StrictError(gvk, strict)
	case metav1.FieldValidationIgnore:
		return nil
	}
	for _, text := range codec.FieldPaths(strict) {
		Warn(ctx, text)
	}
	return nil
}
