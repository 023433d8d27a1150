package admission

import (
	"strings"
	"testing"
)

func TestWithout(t *testing.T) {
	steps := func() []Step { return []Step{{Name: "Priority"}, {Name: "RoleEscalation"}, {Name: "RuntimeClass"}} }
	left, err := without(steps(), []string{"Priority"})
	if err != nil || len(left) != 2 || left[0].Name != "RoleEscalation" || left[1].Name != "RuntimeClass" {
		t.Errorf("got %v, %v; want RoleEscalation and RuntimeClass", left, err)
	}
	for _, name := range []string{"Pririty", "RoleEscalation"} {
		if _, err := without(steps(), []string{name}); err == nil || !strings.HasSuffix(err.Error(), "there are Priority, RuntimeClass") {
			t.Errorf("%s: got %v, want an error that says which there are", name, err)
		}
	}
}
