package openapi

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	info "k8s.io/apimachinery/pkg/version"
)

// root is a path that is no resource's: what a server and its groups say of themselves.
type root struct {
	id, tag, description string
	answer               model // zero is text
	types                []string
}

// roots are the roots of a server that serves these versions, each a document of its own in OpenAPI 3.
func roots(versions []version) []version {
	out := []version{
		{path: ".well-known/openid-configuration", root: &root{"getServiceAccountIssuerOpenIDConfiguration", "WellKnown",
			"get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", model{}, answerTypes[:1]}},
		{path: "openid/v1/jwks", root: &root{"getServiceAccountIssuerOpenIDKeyset", "openid",
			"get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", model{}, []string{"application/jwk-set+json"}}},
		{path: "version", root: &root{"getCodeVersion", "version", "get the version information for this server", of(reflect.TypeFor[info.Info]()), answerTypes[:1]}},
		{path: "api", root: &root{"getCoreAPIVersions", "core", "get available API versions", of(reflect.TypeFor[metav1.APIVersions]()), answerTypes}},
		{path: "apis", root: &root{"getAPIVersions", "apis", "get available API versions", of(reflect.TypeFor[metav1.APIGroupList]()), answerTypes}},
	}
	for _, v := range versions {
		path := "apis/" + v.Group
		if v.Group == "" || v.custom() || slices.ContainsFunc(out, func(o version) bool { return o.path == path }) {
			continue
		}
		bare := version{GroupVersion: schema.GroupVersion{Group: v.Group}}
		tag := bare.tag()
		out = append(out, version{path: path, root: &root{"get" + bare.title() + "APIGroup", tag[:len(tag)-1], "get information of a group",
			of(reflect.TypeFor[metav1.APIGroup]()), answerTypes}})
	}
	return out
}

// addAbout adds the path of a root.
func (s *schemas) addAbout(v version, paths tree) {
	r := v.root
	op := s.noKind(s.operation(v, operation{id: r.id, description: r.description}))
	op["tags"] = []string{r.tag}
	answered := s.response("200", r.answer, r.types)
	if s.v3 && r.answer == (model{}) {
		answered["content"] = tree{r.types[0]: tree{"schema": tree{"type": "string"}}}
	}
	op["responses"] = tree{"200": answered, "401": tree{"description": "Unauthorized"}}
	if !s.v3 {
		op["consumes"], op["produces"] = r.types, r.types
	}
	paths["/"+v.path+"/"] = tree{"get": op}
}
