package policystatus

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func policy(expressions ...string) *registration.ValidatingAdmissionPolicy {
	p := &registration.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 2}}
	p.Spec.ParamKind = &registration.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	p.Spec.Variables = []registration.Variable{{Name: "n", Expression: "object.spec.replicas"}}
	p.Spec.MatchConstraints = &registration.MatchResources{ResourceRules: []registration.NamedRuleWithOperations{{RuleWithOperations: registration.RuleWithOperations{
		Rule: registration.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "deployments/status"}}}}}}
	for _, e := range expressions {
		p.Spec.Validations = append(p.Spec.Validations, registration.Validation{Expression: e})
	}
	return p
}

func TestCheck(t *testing.T) {
	served := []object.Resource{{GroupVersionResource: apps.SchemeGroupVersion.WithResource("deployments"), Kind: "Deployment"}}
	for expression, want := range map[string]string{
		"object.spec.replicas > 1": "",
		"variables.n > 1 && object.metadata.creationTimestamp < timestamp('2020-01-01T00:00:00Z')":               "",
		"object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] == '1')":                          "",
		"object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == 'a'": "",
		"params.data['x'] == 'y'": "",
		"object.spec.nope == 1":   "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n | object.spec.nope == 1\n | ...........^\n",
		"object.spec.replicas == 'x'": "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_==_' applied to '(int, string)'\n" +
			" | object.spec.replicas == 'x'\n | .....................^\n",
		"variables.n == 'x'": "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n" +
			" | variables.n == 'x'\n | ............^\n",
		"params.nope == 1": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'nope'\n | params.nope == 1\n | ......^\n",
	} {
		got, err := check(policy(expression), served)
		switch {
		case err != nil:
			t.Errorf("%s: %v", expression, err)
		case want == "" && len(got) > 0, want != "" && (len(got) != 1 || got[0].Warning != want || got[0].FieldRef != "spec.validations[0].expression"):
			t.Errorf("%s:\ngot  %+v\nwant %s", expression, got, want)
		}
	}
}

func TestStatusIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&registration.ValidatingAdmissionPolicy{}, &apps.Deployment{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		a.Put(policy("object.spec.nope == 1"))
		time.Sleep(time.Second)
		p, _ := client.Lookup[registration.ValidatingAdmissionPolicy](a.View(), object.Key{Name: "p"})
		if p.Status.ObservedGeneration != 2 || p.Status.TypeChecking == nil || len(p.Status.TypeChecking.ExpressionWarnings) != 1 ||
			!strings.Contains(p.Status.TypeChecking.ExpressionWarnings[0].Warning, "undefined field") {
			t.Errorf("got status %+v", p.Status)
		}
	})
}
