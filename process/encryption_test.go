package process

import (
	"testing"

	"proa.dev/kinds/all"
	"proa.dev/store/crypt"
)

func TestWhatKeysBelongTo(t *testing.T) {
	of := resourceOf(all.Kinds())
	for key, want := range map[string]crypt.Resource{
		"/registry/secrets/a/b":                         {Name: "secrets"},
		"/registry/deployments/a/b":                     {Group: "apps", Name: "deployments"},
		"/registry/services/specs/a/b":                  {Name: "services"},
		"/registry/services/endpoints/a/b":              {Name: "endpoints"},
		"/registry/minions/a":                           {Name: "nodes"},
		"/registry/ingress/a/b":                         {Group: "networking.k8s.io", Name: "ingresses"},
		"/registry/bears.example/pandas/a/b":            {Group: "bears.example", Name: "pandas"},
		"/registry/apiregistration.k8s.io/apiservices/": {Group: "apiregistration.k8s.io", Name: "apiservices"},
	} {
		if got := of(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}
