package cel

import (
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/library"
)

// Typed checks expressions against the Go types of what they are about. Nothing it finds keeps an expression from being used: where it is
// evaluated, variables have the types that the objects turn out to have.
type Typed struct {
	env       *cel.Env
	variables *kcel.DeclType
}

// NewTyped is for expressions about objects of the type of object. With params they may use params, which has the type of that; of
// a nil type nothing is known.
func NewTyped(object, params reflect.Type, withParams bool) (*Typed, error) {
	env, err := base[Stored]()
	if err != nil {
		return nil, err
	}
	t := &Typed{variables: kcel.NewObjectType(variablesName, map[string]*kcel.DeclField{})}
	request, namespace := requestType(), namespaceType()
	types := []*kcel.DeclType{namespace, request, t.variables}
	known := func(g reflect.Type, name string) *cel.Type {
		if g == nil {
			return cel.DynType
		}
		d := typeOf(g, nil).MaybeAssignTypeName(name)
		types = append(types, d)
		return d.CelType()
	}
	about := cel.DynType
	if object != nil {
		about = known(object, object.Name()+"1")
	}
	opts := []cel.EnvOption{
		cel.Variable("namespaceObject", namespace.CelType()), cel.Variable("request", request.CelType()),
		cel.Variable("object", about), cel.Variable("oldObject", about), cel.Variable("authorizer", library.AuthorizerType),
		cel.Variable("variables", t.variables.CelType()),
	}
	if withParams {
		opts = append(opts, cel.Variable("params", known(params, "Params1")))
	}
	t.env, err = extend(env, opts, types...)
	return t, err
}

// Define makes a variable known to the expressions that are checked afterwards.
func (t *Typed) Define(name, text string) {
	var out *cel.Type
	if ast, issues := t.env.Compile(text); issues == nil {
		out = ast.OutputType()
	}
	t.variables.Fields[name] = kcel.NewDeclField(name, declared(out), true, nil, nil)
}

// Check says what is wrong with an expression; "" is nothing.
func (t *Typed) Check(text string) string {
	if _, issues := t.env.Compile(text); issues != nil {
		return issues.String()
	}
	return ""
}

// Types whose JSON is not what their Go fields say. nil is a value of any type.
var special = map[string]*kcel.DeclType{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       kcel.TimestampType,
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":  kcel.TimestampType,
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":   kcel.StringType,
	"k8s.io/apimachinery/pkg/api/resource.Quantity":   kcel.StringType,
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": kcel.DynType,
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":   kcel.NewObjectType("object", map[string]*kcel.DeclField{}),
	"k8s.io/apimachinery/pkg/runtime.RawExtension":    kcel.NewObjectType("object", map[string]*kcel.DeclField{}),
}

// typeOf is a Go type of the API as a type of CEL; nil where nothing is known of its values. within are the types around it: one that
// contains itself is known to that depth only.
func typeOf(t reflect.Type, within []reflect.Type) *kcel.DeclType {
	switch t.Kind() {
	case reflect.Pointer:
		return typeOf(t.Elem(), within)
	case reflect.String:
		return kcel.StringType
	case reflect.Bool:
		return kcel.BoolType
	case reflect.Float32, reflect.Float64:
		return kcel.DoubleType
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return kcel.BytesType
		}
		if of := typeOf(t.Elem(), within); of != nil {
			return kcel.NewListType(of, -1)
		}
		return nil
	case reflect.Map:
		if of := typeOf(t.Elem(), within); of != nil {
			return kcel.NewMapType(kcel.StringType, of, -1)
		}
		return nil
	case reflect.Struct:
		if s, ok := special[t.PkgPath()+"."+t.Name()]; ok {
			return s
		}
		fields := map[string]*kcel.DeclField{}
		for _, around := range within {
			if around == t {
				return kcel.NewObjectType("object", fields)
			}
		}
		fieldsOf(t, append(within[:len(within):len(within)], t), fields)
		return kcel.NewObjectType("object", fields)
	case reflect.Interface:
		return nil
	}
	return kcel.IntType
}

func fieldsOf(t reflect.Type, within []reflect.Type, out map[string]*kcel.DeclField) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fieldsOf(f.Type, within, out)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		if of := typeOf(f.Type, within); of != nil {
			if name, ok := kcel.Escape(name); ok {
				out[name] = kcel.NewDeclField(name, of, !strings.Contains(opts, "omit"), nil, nil)
			}
		}
	}
}
