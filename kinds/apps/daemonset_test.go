package apps

import (
	"testing"

	apps "k8s.io/api/apps/v1"
)

// TestTemplateNumber checks who may say the number of a DaemonSet's template: whoever makes it, and then the template alone.
func TestTemplateNumber(t *testing.T) {
	set := func(number, image string) *apps.DaemonSet {
		d := &apps.DaemonSet{}
		d.Spec.Template.Name = image // any part of the template
		if number != "" {
			d.Annotations = map[string]string{apps.DeprecatedTemplateGeneration: number}
		}
		return d
	}
	for _, c := range []struct {
		name     string
		now, old *apps.DaemonSet
		want     string
	}{
		{"new", set("", "a"), nil, "1"},
		{"new, with a number", set("7", "a"), nil, "7"},
		{"new, with a number that is none", set("-7", "a"), nil, "1"},
		{"another number", set("9", "a"), set("3", "a"), "3"},
		{"no number", set("", "a"), set("3", "a"), "3"},
		{"another template", set("9", "b"), set("3", "a"), "4"},
	} {
		countTemplates(c.now, c.old)
		if got := c.now.Annotations[apps.DeprecatedTemplateGeneration]; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
