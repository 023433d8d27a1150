package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/mutation"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"
	kjson "sigs.k8s.io/json"

	"proa.dev/object"
)

// jsonPatch is o with the operations that an expression has made. A test among them that fails leaves o as it is.
func jsonPatch(o runtime.Object, made ref.Val) (runtime.Object, error) {
	list, ok := made.(traits.Lister)
	if !ok {
		return nil, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	var patch jsonpatch.Patch
	for it := list.Iterator(); it.HasNext() == types.True; {
		op, err := operation(it.Next())
		if err != nil {
			return nil, err
		}
		patch = append(patch, op)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("failed to create JSON patch: %w", err)
	}
	if text, err = patch.Apply(text); err != nil {
		if errors.Is(err, jsonpatch.ErrTestFailed) {
			return o.DeepCopyObject(), nil
		}
		return nil, fmt.Errorf("JSON Patch: %w", err)
	}
	out, err := empty(o)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, strictly(text, out)
}

// strictly reads JSON that must have no fields that are unknown or there twice.
func strictly(text []byte, into runtime.Object) error {
	var target any = into
	if u, ok := into.(*unstructured.Unstructured); ok {
		target = &u.Object
	}
	strict, err := kjson.UnmarshalStrict(text, target)
	if err == nil && len(strict) > 0 {
		err = runtime.NewStrictDecodingError(strict)
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return nil
}

// empty is a new object of the type of o.
func empty(o runtime.Object) (runtime.Object, error) {
	if _, ok := o.(*unstructured.Unstructured); ok {
		return &unstructured.Unstructured{}, nil
	}
	return object.Scheme().New(o.GetObjectKind().GroupVersionKind())
}

// operation is one operation of a JSON patch.
func operation(v ref.Val) (jsonpatch.Operation, error) {
	native, err := v.ConvertToNative(reflect.TypeFor[*mutation.JSONPatchVal]())
	if err != nil {
		return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: %w", err)
	}
	op, ok := native.(*mutation.JSONPatchVal)
	if !ok {
		return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of %T", native)
	}
	out := jsonpatch.Operation{}
	for name, text := range map[string]string{"op": op.Op, "path": op.Path, "from": op.From} {
		if text == "" && name == "from" {
			continue
		}
		if err := set(out, name, text); err != nil {
			return nil, err
		}
	}
	if op.Val == nil {
		return out, nil
	}
	if o, ok := op.Val.(*dynamic.ObjectVal); ok {
		if err := o.CheckTypeNamesMatchFieldPathNames(); err != nil {
			return nil, fmt.Errorf("type mismatch: %w", err)
		}
	}
	value, err := op.Val.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err == nil {
		err = set(out, "value", value)
	}
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	return out, nil
}

func set(op jsonpatch.Operation, name string, v any) error {
	text, err := json.Marshal(v)
	op[name] = (*json.RawMessage)(&text)
	return err
}

// apply is o merged with the apply configuration that an expression has made.
func (c *changes) apply(o runtime.Object, made ref.Val) (runtime.Object, error) {
	v, ok := made.(*dynamic.ObjectVal)
	if !ok {
		return nil, fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", made.Type())
	}
	if err := v.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return nil, fmt.Errorf("type mismatch: %w", err)
	}
	tree, ok := v.Value().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid return type: %T", made)
	}
	gvk := o.GetObjectKind().GroupVersionKind()
	configuration := &unstructured.Unstructured{Object: tree}
	configuration.SetGroupVersionKind(gvk)
	out, err := c.merge(o, configuration, gvk)
	if err != nil {
		var status *apierrors.StatusError
		if errors.As(err, &status) {
			return nil, status
		}
		return nil, fmt.Errorf("error applying patch: %w", err)
	}
	return out, nil
}

// typed is an unstructured object as its Go type, where it has one.
func typed(o runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok || !object.Scheme().Recognizes(gvk) {
		return o, nil
	}
	out, err := object.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, err
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}
