package cel

import (
	"fmt"

	"github.com/google/cel-go/cel"
	config "k8s.io/apiserver/pkg/apis/cel"
	kcel "k8s.io/apiserver/pkg/cel"
)

// Error is what is wrong with an expression or its evaluation. Its Detail is Kubernetes' message.
type Error = kcel.Error

// Want is what an expression is to evaluate to.
type Want []*cel.Type

// What expressions evaluate to.
var (
	Bool         = Want{cel.BoolType}
	String       = Want{cel.StringType}
	StringOrNull = Want{cel.StringType, cel.NullType}
	Anything     = Want{cel.AnyType, cel.DynType}
	Object       = Want{cel.ObjectType("Object")}                  // an apply configuration
	Patches      = Want{cel.ListType(cel.ObjectType("JSONPatch"))} // operations of a JSON patch
)

// Expr is a compiled expression. The zero value is none: it evaluates to nothing.
type Expr struct {
	Text string
	Err  *Error // nil: it can be evaluated

	program cel.Program
	out     *cel.Type
}

// Compiler compiles the expressions of one policy, which share its variables. It is for one goroutine.
type Compiler struct {
	age       Age
	variables *kcel.DeclType
	named     []variable
	envs      map[envKey]*cel.Env
}

// variable is one that an expression of the policy itself defines.
type variable struct {
	name string
	Expr
}

// NewCompiler is a compiler for expressions of this age.
func NewCompiler(age Age) *Compiler { return &Compiler{age: age} }

// variablesName is the name of the type of the variable that holds those that expressions define.
const variablesName = "kubernetes.variables"

// Compose makes the variable "variables" known, before any is defined. Without it expressions may not use it.
func (c *Compiler) Compose() {
	if c.variables == nil {
		c.variables = kcel.NewObjectType(variablesName, map[string]*kcel.DeclField{})
		c.envs = map[envKey]*cel.Env{}
	}
}

// Define compiles the expression of a variable, which all compiled afterwards may use as variables.name.
func (c *Compiler) Define(name, text string, vars Vars) Expr {
	return c.DefineAs(c.age, name, text, vars)
}

// DefineAs is Define for an expression of another age than the compiler's.
func (c *Compiler) DefineAs(age Age, name, text string, vars Vars) Expr {
	c.Compose()
	e := c.CompileAs(age, text, vars, Anything)
	c.variables.Fields[name] = kcel.NewDeclField(name, declared(e.out), true, nil, nil)
	c.named = append(c.named, variable{name, e})
	return e
}

// Compile compiles one expression.
func (c *Compiler) Compile(text string, vars Vars, want Want) Expr {
	return c.CompileAs(c.age, text, vars, want)
}

// CompileAs is Compile for an expression of another age than the compiler's.
func (c *Compiler) CompileAs(age Age, text string, vars Vars, want Want) Expr {
	failed := func(kind kcel.ErrorType, format string, args ...any) Expr {
		return Expr{Text: text, Err: &Error{Type: kind, Detail: fmt.Sprintf(format, args...)}}
	}
	env, err := c.env(age, vars)
	if err != nil {
		return failed(kcel.ErrorTypeInternal, "unexpected error loading CEL environment: %v", err)
	}
	ast, issues := env.Compile(text)
	if issues != nil {
		e := failed(kcel.ErrorTypeInvalid, "compilation failed: %s", issues.String())
		e.Err.Cause = kcel.NewCompilationError(issues)
		return e
	}
	if !want.has(ast.OutputType()) {
		if len(want) == 1 {
			return failed(kcel.ErrorTypeInvalid, "must evaluate to %v but got %v", want[0].String(), ast.OutputType().String())
		}
		return failed(kcel.ErrorTypeInvalid, "must evaluate to one of %v but got %v", []*cel.Type(want), ast.OutputType().String())
	}
	program, err := env.Program(ast, cel.InterruptCheckFrequency(config.CheckFrequency))
	if err != nil {
		return failed(kcel.ErrorTypeInternal, "program instantiation failed: %v", err)
	}
	return Expr{Text: text, program: program, out: ast.OutputType()}
}

func (w Want) has(t *cel.Type) bool {
	for _, want := range w {
		if t.IsExactType(want) || want == cel.AnyType {
			return true
		}
	}
	return false
}

// env is the environment for vars, with the variables of the policy where it has some.
func (c *Compiler) env(age Age, vars Vars) (*cel.Env, error) {
	if c.variables == nil {
		return environment(age, vars)
	}
	key := envKey{age, vars}
	if env := c.envs[key]; env != nil {
		return env, nil
	}
	env, err := environment(age, vars)
	if err != nil {
		return nil, err
	}
	if env, err = extend(env, []cel.EnvOption{cel.Variable("variables", c.variables.CelType())}, c.variables); err != nil {
		return nil, err
	}
	c.envs[key] = env
	return env, nil
}
