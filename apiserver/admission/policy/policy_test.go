package policy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission/policy"
	"proa.dev/apiserver/apitest"
)

// server is an API server with policies.
type server struct {
	*apitest.Server
	t *testing.T
}

func start(t *testing.T) server {
	return server{apitest.Start(t, func(d *apiserver.Deps) { d.Plugins = append(d.Plugins, policy.New) }), t}
}

// do sends a request, and returns the code and the body, with the warnings before it.
func (s server) do(method, path, body string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/yaml")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, strings.Join(append(res.Header.Values("Warning"), string(text)), "\n")
}

func (s server) must(method, path, body string) string {
	s.t.Helper()
	code, text := s.do(method, path, body)
	if code >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	return text
}

// until sends a request until its answer contains want: the index of policies follows the objects.
func (s server) until(method, path, body, want string) string {
	s.t.Helper()
	var text string
	for range 200 {
		if _, text = s.do(method, path, body); strings.Contains(text, want) {
			return text
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%s %s: no %q in %s", method, path, want, text)
	return ""
}

const registration = "/apis/admissionregistration.k8s.io/v1/"

// bind makes a validating policy for config maps named p, with a binding b.
func (s server) bind(spec, binding string) {
	s.t.Helper()
	s.must("POST", registration+"validatingadmissionpolicies", `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [configmaps]}]}, `+spec+`}}`)
	s.must("POST", registration+"validatingadmissionpolicybindings", `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, spec: {
  policyName: p, `+binding+`}}`)
}

func configMap(name, data string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: %s}, data: {%s}}", name, data)
}

const configMaps = "/api/v1/namespaces/default/configmaps"

func TestDeny(t *testing.T) {
	s := start(t)
	s.bind(`variables: [{name: size, expression: "object.data.size()"}],
  matchConditions: [{name: named, expression: "request.name.startsWith('x') && request.userInfo.username == 'admin'"}],
  validations: [{expression: "variables.size < 2", messageExpression: "'has ' + string(variables.size) + ' in ' + namespaceObject.metadata.name", reason: Forbidden}]`,
		`validationActions: [Deny]`)
	text := s.until("POST", configMaps+"?dryRun=All", configMap("x", "a: b, c: d"), "denied")
	want := `configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: has 2 in default`
	if !strings.Contains(text, want) || !strings.Contains(text, `"code":403`) || !strings.Contains(text, `"reason":"Forbidden"`) {
		t.Errorf("got %s, want %s", text, want)
	}
	s.must("POST", configMaps+"?dryRun=All", configMap("x", "a: b"))
	s.must("POST", configMaps+"?dryRun=All", configMap("other", "a: b, c: d"))
	s.must("DELETE", registration+"validatingadmissionpolicybindings/b", "")
	for range 200 {
		if code, _ := s.do("POST", configMaps+"?dryRun=All", configMap("x", "a: b, c: d")); code < 300 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a policy without a binding still denies")
}

func TestParams(t *testing.T) {
	s := start(t)
	s.must("POST", configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: limits, labels: {of: limits}}, data: {most: '1'}}")
	s.bind(`paramKind: {apiVersion: v1, kind: ConfigMap},
  validations: [{expression: "oldObject == null || object == null || object.data.size() <= int(params.data.most)"}, {expression: "object == null || params.kind == 'ConfigMap' && object.data.size() <= int(params.data.most)", message: too many}]`,
		`validationActions: [Deny], paramRef: {selector: {matchLabels: {of: limits}}, parameterNotFoundAction: Deny}`)
	text := s.until("POST", configMaps+"?dryRun=All", configMap("x", "a: b, c: d"), "denied")
	if want := `denied request: too many`; !strings.Contains(text, want) || !strings.Contains(text, `"code":422`) {
		t.Errorf("got %s, want %s", text, want)
	}
	s.must("POST", configMaps+"?dryRun=All", configMap("x", "a: b"))
	s.must("POST", configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: more, labels: {of: limits}}, data: {most: '0'}}"+
		"")
}

func TestActions(t *testing.T) {
	s := start(t)
	s.bind(`validations: [{expression: "object.data.size() < 2"}, {expression: "object.missing == 1"}]`, `validationActions: [Warn, Audit]`)
	text := s.until("POST", configMaps+"?dryRun=All", configMap("x", "a: b, c: d"), "Validation failed")
	for _, want := range []string{
		`299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: object.data.size() < 2"`,
		`299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': expression 'object.missing == 1' resulted in error: no such key: missing"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestMutate(t *testing.T) {
	s := start(t)
	s.must("POST", registration+"mutatingadmissionpolicies", `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: m}, spec: {
  reinvocationPolicy: IfNeeded,
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]},
  variables: [{name: three, expression: "3"}],
  mutations: [
    {patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{metadata: Object.metadata{annotations: {'by': 'policy'}}, spec: Object.spec{replicas: variables.three, template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}"}},
    {patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'test', path: '/spec/replicas', value: 3}, JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: string(object.spec.replicas)}]"}}]}}`)
	s.must("POST", registration+"mutatingadmissionpolicybindings", `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: mb}, spec: {policyName: m}}`)
	web := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {app: web}}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: a:1}]}}}}`
	text := s.until("POST", "/apis/apps/v1/namespaces/default/deployments?dryRun=All", web, `"by":"policy"`)
	for _, want := range []string{`"replicas":3`, `"a.b/c":"3"`, `"image":"side:1"`, `"image":"a:1"`, `"terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}]`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	s.must("PATCH", registration+"mutatingadmissionpolicies/m", `{"spec": {"mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'a', args: ['x']}]}}}}"}}]}}`)
	text = s.until("POST", "/apis/apps/v1/namespaces/default/deployments?dryRun=All", web, `may not mutate atomic`)
	if want := `policy 'm' with binding 'mb' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args`; !strings.Contains(text, want) {
		t.Errorf("got %s", text)
	}
}
