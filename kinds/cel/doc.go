// Package cel compiles and evaluates the expressions of admission: those of policies and the match conditions of webhooks, in the
// environment of Kubernetes: its variables, libraries, cost limits and messages.
//
//	c := cel.NewCompiler(cel.New)
//	e := c.Compile("object.spec.replicas <= params.max", cel.Vars{Params: true}, cel.Bool)
//	e.Err                                   what is wrong with it, in Kubernetes' words; nil: nothing
//	cel.NewScope(ctx, vars, in).Eval(e)     true or false, or what went wrong, within a budget
//
// It stands under kinds because what an expression may say is a rule of the kinds that have one. The environments are made when the
// first expression needs them: a cluster without any does not pay for them. The libraries are k8s.io/apiserver/pkg/cel and cel-go; the
// environment is put together here, since apiserver's own pulls in feature gates and metrics.
//
// It imports no package of ours. Read compile.go, then env.go and eval.go.
package cel
