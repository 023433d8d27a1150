package pod

import (
	"fmt"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestMapsUsers(t *testing.T) {
	handler := func(name string, maps bool) *runtimeapi.RuntimeHandler {
		return &runtimeapi.RuntimeHandler{Name: name, Features: &runtimeapi.RuntimeHandlerFeatures{UserNamespaces: maps}}
	}
	known := []*runtimeapi.RuntimeHandler{handler("", true), handler("old", false)}
	for _, c := range []struct {
		handlers []*runtimeapi.RuntimeHandler
		handler  string
		want     string
	}{
		{known, "", "<nil>"},
		{known, "old", "can't set `spec.hostUsers: false`, RuntimeClass handler \"old\" does not support user namespaces"},
		{known, "new", "can't set `spec.hostUsers: false`, RuntimeClass handler \"new\" does not support user namespaces: the handler \"new\" is not known"},
		{nil, "", "can't set `spec.hostUsers: false`, runtime does not support user namespaces"},
		{nil, "new", "can't set `spec.hostUsers: false`, RuntimeClass handler \"new\" does not support user namespaces"},
	} {
		if got := fmt.Sprint(mapsUsers(c.handlers, c.handler)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}
