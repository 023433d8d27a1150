package rest

import (
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds/all"
	"proa.dev/object"
)

// A token that is taken is one that we would give out.
func FuzzToken(f *testing.F) {
	f.Add(token{Rev: 7, Start: "default/a\x00"}.String())
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiXHUwMDAwIn0")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseToken(text)
		if err != nil {
			return
		}
		if strings.Contains(got.Start, "../") {
			t.Errorf("%q leads out of its place", got.Start)
		}
		if again, err := parseToken(got.String()); err != nil || again != got {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

// Whatever is applied, the answer is an object of the kind or an error that says why not.
func FuzzApplyPatch(f *testing.F) {
	for _, text := range []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":3}}`,
		"apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 1}, {containerPort: 1, protocol: UDP}]}]}}}",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{image: a}]}}}", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {managedFields: [{}]}",
		"apiVersion: v1\nkind: Pod", "spec: &a [*a]", "[]", "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: 1e999, selector: {matchLabels: {a: 1}}}",
	} {
		f.Add([]byte(text))
	}
	a := &API{mergers: newMergers()}
	var s *Served
	for _, k := range all.Kinds() {
		if k.Kind == "Deployment" {
			s = &Served{Resource: k.Resource, Kind: k}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		live := &apps.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		out, err := a.applyPatch(s, "", live, data, metav1.PatchOptions{FieldManager: "m"})
		if err == nil && object.KindOf(out) != s.Kind.GVK() {
			t.Errorf("made a %s", object.KindOf(out))
		}
	})
}
