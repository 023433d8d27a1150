package cel

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
	config "k8s.io/apiserver/pkg/apis/cel"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Age says which libraries an expression may use. Kubernetes lets what is new in a version be used by what is stored already, so that a
// server can go back by one version without losing what has been written.
type Age int

// The ages.
const (
	New    Age = iota // written now: the libraries of the version before
	Stored            // accepted once: all libraries
)

// base is the environment without variables, one for each age, made when it is first used.
var base = [...]func() (*cel.Env, error){
	New:    sync.OnceValues(func() (*cel.Env, error) { return makeBase(library.ListsVersion(0)) }),
	Stored: sync.OnceValues(func() (*cel.Env, error) { return makeBase(library.ListsVersion(1)) }),
}

func makeBase(lists library.ListsOption) (*cel.Env, error) {
	env, err := cel.NewEnv()
	if err != nil {
		return nil, err
	}
	return env.Extend(cel.Lib(loader{
		env: []cel.EnvOption{
			cel.HomogeneousAggregateLiterals(),
			cel.EagerlyValidateDeclarations(true), // once here, not for every expression
			cel.DefaultUTCTimeZone(true),
			library.URLs(), library.Regex(),
			cel.CostEstimatorOptions(checker.PresenceTestHasCost(false)),
			library.Authz(),
			cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
			library.Quantity(),
			cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
				cel.ValidateHomogeneousAggregateLiterals()),
			ext.Strings(ext.StringsVersion(2)), ext.Sets(),
			library.IP(), library.CIDR(), library.Format(), library.AuthzSelectors(),
			ext.TwoVarComprehensions(),
			library.SemverLib(library.SemverVersion(1)),
			ext.Lists(ext.ListsVersion(3)),
			library.Lists(lists),
		},
		program: []cel.ProgramOption{
			cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost),
			cel.CostLimit(config.PerCallLimit),
			cel.CostTrackerOptions(interpreter.PresenceTestHasCost(false)),
			cel.CostTracking(&library.CostEstimator{}),
		},
	}))
}

// loader is options as one library.
type loader struct {
	env     []cel.EnvOption
	program []cel.ProgramOption
}

func (l loader) CompileOptions() []cel.EnvOption     { return l.env }
func (l loader) ProgramOptions() []cel.ProgramOption { return l.program }

// Vars says which variables an expression may use, beside object, oldObject, request and namespaceObject.
type Vars struct {
	Params     bool
	Authorizer bool // authorizer and authorizer.requestResource
	Patches    bool // the types Object and JSONPatch
}

// envKey names an environment with variables.
type envKey struct {
	age  Age
	vars Vars
}

// environments are those with variables, each made when it is first used.
var environments = func() map[envKey]func() (*cel.Env, error) {
	all := map[envKey]func() (*cel.Env, error){}
	for i := range 16 {
		key := envKey{Age(i & 1), Vars{Params: i&2 != 0, Authorizer: i&4 != 0, Patches: i&8 != 0}}
		all[key] = sync.OnceValues(func() (*cel.Env, error) { return makeEnvironment(key.age, key.vars) })
	}
	return all
}()

// environment is the one for vars.
func environment(age Age, vars Vars) (*cel.Env, error) { return environments[envKey{age, vars}]() }

func makeEnvironment(age Age, vars Vars) (*cel.Env, error) {
	env, err := base[age]()
	if err != nil {
		return nil, err
	}
	request, namespace := requestType(), namespaceType()
	opts := []cel.EnvOption{
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("namespaceObject", namespace.CelType()), cel.Variable("request", request.CelType()),
	}
	if vars.Params {
		opts = append(opts, cel.Variable("params", cel.DynType))
	}
	if vars.Authorizer {
		opts = append(opts, cel.Variable("authorizer", library.AuthorizerType), cel.Variable("authorizer.requestResource", library.ResourceCheckType))
	}
	if env, err = extend(env, opts, namespace, request); err != nil || !vars.Patches {
		return env, err
	}
	return env.Extend(cel.Lib(loader{env: []cel.EnvOption{common.ResolverEnvOption(&mutation.DynamicTypeResolver{}), library.JSONPatch()}}))
}

// Extend is the environment of this age with further options, and types that they name: for expressions about something else than a
// request.
func Extend(age Age, opts []cel.EnvOption, types ...*kcel.DeclType) (*cel.Env, error) {
	env, err := base[age]()
	if err != nil {
		return nil, err
	}
	return extend(env, opts, types...)
}

// extend is env with further options, and types that they name.
func extend(env *cel.Env, opts []cel.EnvOption, types ...*kcel.DeclType) (*cel.Env, error) {
	provider := kcel.NewDeclTypeProvider(types...)
	provider.SetRecognizeKeywordAsFieldName(true)
	more, err := provider.EnvOptions(env.CELTypeProvider())
	if err != nil {
		return nil, fmt.Errorf("declare types: %w", err)
	}
	return env.Extend(cel.Lib(loader{env: append(opts, more...)}))
}
