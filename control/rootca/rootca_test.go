package rootca

import (
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestEveryNamespaceHasTheBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.ConfigMap{}, &core.Namespace{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View(), CAPEM: []byte("PEM")})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		a.Put(&core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
		check := func(when string) *core.ConfigMap {
			t.Helper()
			time.Sleep(time.Second)
			cm, ok := client.Lookup[core.ConfigMap](a.View(), object.Key{Namespace: "one", Name: Name})
			if !ok || cm.Data[Key] != "PEM" || len(cm.Data) != 1 {
				t.Fatalf("%s: got %v, want the bundle", when, cm)
			}
			return cm
		}
		cm := object.Clone(check("new namespace"))
		cm.Data = map[string]string{Key: "other", "more": ""}
		a.Put(cm)
		a.Remove(check("changed"))
		check("deleted")
	})
}

func TestNoBundleIsAnError(t *testing.T) {
	if _, err := New(control.Deps{}); err == nil {
		t.Error("made without a CA bundle")
	}
}
