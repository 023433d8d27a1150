package local_test

import (
	"context"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/client/clienttest"
	"proa.dev/object"
)

func TestSuite(t *testing.T) {
	s := apitest.Start(t)
	clienttest.Run(t, s.Client, s.View())
}

func TestCallsAreAuthorised(t *testing.T) {
	s := apitest.Start(t)
	nobody := s.Local(authn.User{Name: "nobody"})
	_, err := client.Get[core.Namespace](t.Context(), nobody, object.Key{Name: "default"})
	want := `namespaces "default" is forbidden: User "nobody" cannot get resource "namespaces" in API group "" in the namespace "default"`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestOtherVersions(t *testing.T) {
	s := apitest.Start(t)
	made, err := client.Create(t.Context(), s.Client, &events.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e"}, EventTime: metav1.NowMicro(), ReportingController: "c.example", ReportingInstance: "i",
		Action: "Do", Reason: "R", Type: "Normal", Note: "hello", Regarding: core.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Get[core.Event](t.Context(), s.Client, object.KeyOf(made))
	if err != nil || got.Message != "hello" || got.UID != made.UID {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestCallsEndWithTheServer(t *testing.T) {
	s := apitest.Start(t)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.Get[core.Namespace](ctx, s.Client, object.Key{Name: "default"}); err == nil || ctx.Err() != nil {
		t.Errorf("a call to a server that has ended: %v", err)
	}
}

// What the parts of the control plane write is owned by the programs that do it in Kubernetes.
func TestManagers(t *testing.T) {
	s := apitest.Start(t)
	for user, want := range map[string]string{
		"system:kube-scheduler": "kube-scheduler", "system:kube-controller-manager": "kube-controller-manager", "system:apiserver": "kube-apiserver",
		"system:node:a": "kubelet",
	} {
		c := s.Local(authn.User{Name: user, Groups: []string{authn.Masters, authn.Authenticated}})
		made, err := client.Create(t.Context(), c, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "a-"}, Data: map[string]string{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		f := made.ManagedFields
		if len(f) != 1 || f[0].Manager != want || f[0].FieldsV1.GetRawString() != `{"f:data":{".":{},"f:a":{}},"f:metadata":{"f:generateName":{}}}` {
			t.Errorf("%s: got %+v, want one of %s", user, f, want)
		}
	}
}
