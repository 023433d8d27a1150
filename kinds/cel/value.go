package cel

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/cel/common"
)

// ValueOf is o as an expression sees it: its JSON, without making it. It reads o in place and remembers what was read, so it is for
// one goroutine.
func ValueOf(o any) ref.Val {
	if u, ok := o.(*unstructured.Unstructured); ok && u != nil {
		return types.DefaultTypeAdapter.NativeToValue(u.Object)
	}
	if o == nil || reflect.ValueOf(o).Kind() == reflect.Pointer && reflect.ValueOf(o).IsNil() {
		return types.NullValue
	}
	return common.SchemalessTypedToVal(o)
}

// PlainValueOf is ValueOf for expressions that make objects, in which parts of o may appear: these must be plain maps and lists.
func PlainValueOf(o runtime.Object) (ref.Val, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return types.DefaultTypeAdapter.NativeToValue(u.Object), nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("read %T for an expression: %w", o, err)
	}
	return types.DefaultTypeAdapter.NativeToValue(m), nil
}
