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
