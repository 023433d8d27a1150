package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authorization "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/fields"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
)

const good = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    authorizedTTL: 1m
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /hook.yaml}
    matchConditions:
    - expression: has(request.resourceAttributes)
    - expression: request.resourceAttributes.namespace == 'shop'
- {type: RBAC, name: rbac}
`

// hook answers what it is told to.
type hook struct {
	asked  []authorization.SubjectAccessReviewSpec
	status authorization.SubjectAccessReviewStatus
	err    error
}

func (h *hook) Post(_ context.Context, in, out any) error {
	h.asked = append(h.asked, in.(*authorization.SubjectAccessReview).Spec)
	out.(*authorization.SubjectAccessReview).Status = h.status
	return h.err
}

func TestDecisionsOfTheWebhook(t *testing.T) {
	c, err := Parse("f.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		h := &hook{status: authorization.SubjectAccessReviewStatus{Allowed: true, Reason: "fine"}}
		w, err := New("hook", *c.Authorizers[0].Webhook, h)
		if err != nil {
			t.Fatal(err)
		}
		a := authz.Attributes{User: authn.User{Name: "eve"}, Verb: "list", Resource: "pods", Version: "v1", Namespace: "shop", ResourceRequest: true,
			Fields: fields.OneTermEqualSelector("spec.nodeName", "n1").Requirements()}
		for range 2 {
			if d, err := w.Authorize(t.Context(), a); err != nil || !d.Allowed || d.Reason != "fine" {
				t.Errorf("%+v, %v", d, err)
			}
		}
		if len(h.asked) != 1 || h.asked[0].User != "eve" || h.asked[0].ResourceAttributes.FieldSelector.Requirements[0].Key != "spec.nodeName" {
			t.Errorf("asked %+v", h.asked)
		}
		time.Sleep(61 * time.Second)
		h.status = authorization.SubjectAccessReviewStatus{Denied: true}
		if d, err := w.Authorize(t.Context(), a); err != nil || !d.Denied {
			t.Errorf("%+v, %v", d, err)
		}
		time.Sleep(31 * time.Second)
		h.err = errors.New("down")
		if d, err := w.Authorize(t.Context(), a); err == nil || !d.Denied {
			t.Errorf("where nobody answers: %+v, %v", d, err)
		}
		n := len(h.asked)
		a.Namespace = "other"
		if d, err := w.Authorize(t.Context(), a); err != nil || d.Allowed || d.Denied {
			t.Errorf("left out by a condition: %+v, %v", d, err)
		}
		if d, err := w.Authorize(t.Context(), authz.Attributes{Verb: "get", Path: "/x"}); err != nil || d.Allowed || d.Denied || len(h.asked) != n {
			t.Errorf("left out by a condition: %+v, %v", d, err)
		}
	})
}

func TestMistakesInTheFile(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"kind: Auth", "kin: Auth", `f.yaml:2: unknown key "kin"`},
		{"timeout: 3s", "timeout: 3m", "f.yaml: authorizers[0].webhook.timeout: want more than 0 and at most 30s"},
		{"failurePolicy: Deny", "failurePolicy: Allow", `f.yaml: authorizers[0].webhook.failurePolicy: "Allow" is not NoOpinion or Deny`},
		{"{type: RBAC, name: rbac}", "{type: RBAC, name: hook}", `f.yaml: authorizers[1].name: "hook" stands there twice`},
		{"{type: RBAC, name: rbac}", "{type: ABAC, name: abac}", `f.yaml: authorizers[1].type: "ABAC" is not one of Node, RBAC, Webhook`},
		{"/hook.yaml", "hook.yaml", "f.yaml: authorizers[0].webhook.connectionInfo.kubeConfigFile: want an absolute path"},
	} {
		if _, err := Parse("f.yaml", []byte(strings.Replace(good, c.old, c.new, 1))); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	c, err := Parse("f.yaml", []byte(strings.Replace(good, "has(request.resourceAttributes)", "request.", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New("hook", *c.Authorizers[0].Webhook, nil); err == nil || !strings.HasPrefix(err.Error(), "hook: matchConditions[0].expression: compilation failed") {
		t.Errorf("got %v", err)
	}
}

// Whatever a configuration says, it is read or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- {type: Webhook, name: w, webhook: {timeout: 3s, matchConditions: [{expression: 'request.user == \"a\"'}]}}\n- {type: Node, name: n}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Parse("f", data); (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}
