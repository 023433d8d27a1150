package cel

import (
	"context"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	admission "k8s.io/api/admission/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/utils/ptr"
)

// input is a deployment on its way, by a user who may get pods.
func input() *Input {
	d := &apps.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec: apps.DeploymentSpec{Replicas: ptr.To[int32](3), Template: core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{
			Name: "a", Image: "x:1", Resources: core.ResourceRequirements{Limits: core.ResourceList{"cpu": resource.MustParse("1500m")}}}}}}},
	}
	return &Input{
		Object: ValueOf(d), Params: ValueOf(&core.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{"max": "5"}}),
		Request: &admission.AdmissionRequest{Name: "web", Namespace: "shop", Operation: "CREATE", DryRun: ptr.To(false),
			Kind: metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}},
		Namespace: &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"env": "prod"}}},
		User:      &user.DefaultInfo{Name: "bob"},
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if a.GetVerb() == "get" && a.GetResource() == "pods" {
				return authorizer.DecisionAllow, "may", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
		Resource: where{},
	}
}

type where struct{}

func (where) GetName() string      { return "web" }
func (where) GetNamespace() string { return "shop" }
func (where) GetResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Resource: "pods"}
}
func (where) GetSubresource() string { return "" }

var everything = Vars{Params: true, Authorizer: true}

func TestEvaluate(t *testing.T) {
	for _, tt := range []struct {
		text string
		want ref.Val
		bad  string // part of the error
	}{
		{"object.spec.replicas == 3", types.True, ""},
		{"object.kind == 'Deployment' && object.apiVersion == 'apps/v1'", types.True, ""},
		{"object.spec.replicas > int(params.data['max'])", types.False, ""},
		{"oldObject == null", types.True, ""},
		{"has(object.metadata.annotations)", types.False, ""},
		{"has(object.spec.paused)", types.False, ""},
		{"object.spec.template.spec.containers.all(c, quantity(c.resources.limits.cpu).isLessThan(quantity('2')))", types.True, ""},
		{"namespaceObject.metadata.labels.env == 'prod'", types.True, ""},
		{"request.operation == 'CREATE' && request.kind.kind == 'Deployment' && !request.dryRun", types.True, ""},
		{"authorizer.group('').resource('pods').check('get').allowed()", types.True, ""},
		{"authorizer.group('').resource('pods').check('list').allowed()", types.False, ""},
		{"authorizer.requestResource.check('get').reason() == 'may'", types.True, ""},
		{"variables.twice == 6 && variables.twice + 1 == 7", types.True, ""},
		{"variables.broken == 1", nil, `composited variable "broken" fails to evaluate: no such key: missing`},
		{"variables.bad == 1", nil, `composited variable "bad" fails to compile: compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')`},
		{"object.missing == 1", nil, "expression 'object.missing == 1' resulted in error: no such key: missing"},
		{"[1, 2].includes(1)", types.True, ""},
	} {
		c := NewCompiler(Stored)
		c.Define("twice", "object.spec.replicas * 2", everything)
		c.Define("broken", "object.missing", everything)
		c.Define("bad", "nothing", everything)
		e := c.Compile(tt.text, everything, Bool)
		if e.Err != nil {
			t.Errorf("%s: %v", tt.text, e.Err)
			continue
		}
		got, bad, fatal := NewScope(t.Context(), c, input(), Budget).Eval(&e)
		if fatal != nil {
			t.Errorf("%s: %v", tt.text, fatal)
		}
		if got != tt.want || (bad == nil) != (tt.bad == "") || bad != nil && !strings.Contains(bad.Error(), tt.bad) {
			t.Errorf("%s: got %v, %v; want %v, %q", tt.text, got, bad, tt.want, tt.bad)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, tt := range []struct {
		text string
		vars Vars
		want Want
		err  string
	}{
		{"1 + 1", Vars{}, Bool, "must evaluate to bool but got int"},
		{"object.x", Vars{}, StringOrNull, "must evaluate to one of [string null_type] but got dyn"},
		{"params.x == 1", Vars{}, Bool, "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^"},
		{"authorizer.group('').resource('x').check('get').allowed()", Vars{}, Bool, "compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')\n | authorizer.group('').resource('x').check('get').allowed()\n | ^"},
		{"variables.x == 1", Vars{}, Bool, "compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')\n | variables.x == 1\n | ^"},
		{"request.nope == ''", Vars{}, Bool, "compilation failed: ERROR: <input>:1:8: undefined field 'nope'\n | request.nope == ''\n | .......^"},
		{"[1].includes(1)", Vars{}, Bool, "compilation failed: ERROR: <input>:1:13: undeclared reference to 'includes' (in container '')\n | [1].includes(1)\n | ............^"},
		{"Object{}", Vars{}, Object, "compilation failed: ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')\n | Object{}\n | ......^"},
		{"Object{spec: Object.spec{replicas: 3}}", Vars{Patches: true}, Object, ""},
		{"[JSONPatch{op: 'add', path: '/spec', value: 1}]", Vars{Patches: true}, Patches, ""},
	} {
		e := NewCompiler(New).Compile(tt.text, tt.vars, tt.want)
		got := ""
		if e.Err != nil {
			got = e.Err.Error()
		}
		if got != tt.err {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.text, got, tt.err)
		}
	}
}

func TestBudget(t *testing.T) {
	c := NewCompiler(Stored)
	c.Define("list", "object.spec.template.spec.containers.map(c, c.name)", everything)
	e := c.Compile("variables.list.size() == 1", everything, Bool)
	s := NewScope(t.Context(), c, input(), Budget)
	if got, bad, fatal := s.Eval(&e); got != types.True || bad != nil || fatal != nil {
		t.Fatalf("%v %v %v", got, bad, fatal)
	}
	cost := Budget - s.Remaining()
	if cost < 2 {
		t.Errorf("cost %d leaves out the variable", cost)
	}
	s = NewScope(t.Context(), c, input(), cost-1)
	if _, _, fatal := s.Eval(&e); fatal == nil || !strings.Contains(fatal.Error(), "validation failed due to running out of cost budget") {
		t.Errorf("below its cost: %v", fatal)
	}
	long := c.Compile("range(1) == []", everything, Bool)
	if long.Err == nil {
		t.Error("range exists")
	}
	deep := c.Compile("lists.range(1000).all(a, lists.range(1000).all(b, lists.range(1000).all(c, a + b + c >= 0)))", everything, Bool)
	if deep.Err != nil {
		t.Fatal(deep.Err)
	}
	if _, bad, _ := NewScope(t.Context(), c, input(), Budget).Eval(&deep); bad == nil || !strings.Contains(bad.Error(), "operation cancelled: actual cost limit exceeded") {
		t.Errorf("a billion steps: %v", bad)
	}
}

func BenchmarkBase(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := makeBase(library.ListsVersion(1)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnvironment(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := makeEnvironment(Stored, everything); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := NewCompiler(Stored)
		c.Define("n", "object.spec.replicas", everything)
		if e := c.Compile("variables.n <= 5", everything, Bool); e.Err != nil {
			b.Fatal(e.Err)
		}
	}
}

func BenchmarkEval(b *testing.B) {
	c := NewCompiler(Stored)
	e := c.Compile("object.spec.replicas <= 5 && object.spec.template.spec.containers.all(c, c.image.startsWith('x'))", everything, Bool)
	in := input()
	b.ReportAllocs()
	for b.Loop() {
		if got, _, _ := NewScope(b.Context(), c, in, Budget).Eval(&e); got != types.True {
			b.Fatal(got)
		}
	}
}
