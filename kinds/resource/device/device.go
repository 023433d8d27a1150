package device

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/ext"
	resource "k8s.io/api/resource/v1"
	config "k8s.io/apiserver/pkg/apis/cel"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/library"

	kindscel "proa.dev/kinds/cel"
)

const variable = "device"

// declared is the environment of one age and the types that it declares.
type declared struct {
	env               *cel.Env
	device, attribute *kcel.DeclType
}

var environments = [...]func() (*declared, error){
	kindscel.New:    sync.OnceValues(func() (*declared, error) { return declare(kindscel.New) }),
	kindscel.Stored: sync.OnceValues(func() (*declared, error) { return declare(kindscel.Stored) }),
}

// declare makes the environment: a device has a driver, attributes and capacity by domain and name, and says whether several claims
// may share it.
func declare(age kindscel.Age) (*declared, error) {
	const most = resource.ResourceSliceMaxAttributesAndCapacitiesPerDevice
	domain, id := sized(kcel.StringType, resource.DeviceMaxDomainLength), sized(kcel.StringType, resource.DeviceMaxIDLength)
	attribute := sized(kcel.AnyType, resource.DeviceAttributeMaxValueLength)
	fields := map[string]*kcel.DeclField{}
	for name, t := range map[string]*kcel.DeclType{
		"driver":                   sized(kcel.StringType, resource.DriverNameMaxLength),
		"attributes":               kcel.NewMapType(domain, kcel.NewMapType(id, attribute, most), most),
		"capacity":                 kcel.NewMapType(domain, kcel.NewMapType(id, kcel.QuantityDeclType, most), most),
		"allowMultipleAllocations": sized(kcel.BoolType, 1),
	} {
		fields[name] = kcel.NewDeclField(name, t, true, nil, nil)
	}
	t := kcel.NewObjectType("kubernetes.DRADevice", fields)
	env, err := kindscel.Extend(age, []cel.EnvOption{ext.Bindings(ext.BindingsVersion(0)), cel.Variable(variable, t.CelType())}, t)
	if err != nil {
		return nil, err
	}
	return &declared{env: env, device: t, attribute: attribute}, nil
}

// sized is t with a known greatest size, by which costs are estimated.
func sized(t *kcel.DeclType, most int64) *kcel.DeclType {
	out := *t
	out.MaxElements = most
	return &out
}

// Compile compiles a selector, which is to evaluate to a bool. It returns what the selector costs at most, in units of CEL.
func Compile(text string, age kindscel.Age) (cel.Program, uint64, *kindscel.Error) {
	failed := func(kind kcel.ErrorType, format string, args ...any) (cel.Program, uint64, *kindscel.Error) {
		return nil, 0, &kindscel.Error{Type: kind, Detail: fmt.Sprintf(format, args...)}
	}
	d, err := environments[age]()
	if err != nil {
		return failed(kcel.ErrorTypeInternal, "unexpected error loading CEL environment: %v", err)
	}
	ast, issues := d.env.Compile(text)
	if issues != nil {
		return failed(kcel.ErrorTypeInvalid, "compilation failed: %s", issues.String())
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(d.attribute.CelType()) {
		return failed(kcel.ErrorTypeInvalid, "must evaluate to %s or the unknown type, not %s", cel.BoolType, t)
	}
	program, err := d.env.Program(ast, cel.CostLimit(resource.CELSelectorExpressionMaxCost), cel.InterruptCheckFrequency(config.CheckFrequency))
	if err != nil {
		return failed(kcel.ErrorTypeInternal, "program instantiation failed: %v", err)
	}
	cost, err := d.env.EstimateCost(ast, &library.CostEstimator{SizeEstimator: d})
	if err != nil {
		return failed(kcel.ErrorTypeInternal, "cost estimation failed: %v", err)
	}
	return program, cost.Max, nil
}

// EstimateSize tells how large a part of a device may be.
func (d *declared) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	path := node.Path()
	if len(path) == 0 || path[0] != variable {
		return nil
	}
	t := d.device
	for _, name := range path[1:] {
		next := t.ElemType
		switch f := t.Fields[name]; {
		case name == "@items" || name == "@values":
		case name == "@keys":
			next = t.KeyType
		case f != nil:
			next = f.Type
		case t.ElemType != d.attribute: // of attributes any name may be asked for
			next = nil
		}
		if next == nil {
			return nil
		}
		t = next
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(t.MaxElements)}
}

// EstimateCallCost leaves the cost of functions to the libraries.
func (d *declared) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
