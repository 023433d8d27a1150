package serviceaccount

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

func TestEveryNamespaceHasOneAndKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.ServiceAccount{}, &core.Namespace{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		now := metav1.Now()
		a.Put(&core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "one"}})
		a.Put(&core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &now, Finalizers: []string{"x"}}})
		for range 2 { // the second time it has been deleted
			time.Sleep(time.Second)
			all := client.ListOf[core.ServiceAccount](a.View(), client.Select{})
			if len(all) != 1 || object.KeyOf(all[0]).String() != "one/default" {
				t.Fatalf("got %d accounts, want one/default", len(all))
			}
			a.Remove(all[0])
		}
	})
}
