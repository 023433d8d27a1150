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
	return looseFields(ctx, strict, validation, func() error { return codec.StrictError(gvk, strict) })
}

// looseFields is FieldErrors with a refusal of the caller's.
func looseFields(ctx context.Context, strict []error, validation string, refusal func() error) error {
	if len(strict) == 0 {
		return nil
	}
	switch validation {
	case metav1.FieldValidationStrict:
		return refusal()
	case metav1.FieldValidationIgnore:
		return nil
	}
	for _, text := range codec.FieldPaths(strict) {
		Warn(ctx, text)
	}
	return nil
}
