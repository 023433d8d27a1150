package apiserver_test

import (
	"testing"
	"time"

	"proa.dev/apiserver/apitest"
)

// A server that ends lets open watches end as if their time were up.
func TestTheEndOfAServerEndsWatches(t *testing.T) {
	s := apitest.Start(t)
	w := watch(t, s, "")
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("a", ""), nil)
	w.want("ADDED a")
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the end took %s", took)
	}
	select {
	case e, ok := <-w.out:
		if ok {
			t.Errorf("got %s", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch did not end")
	}
}
