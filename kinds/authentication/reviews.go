package authentication

import (
	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
)

var create = []string{"create"}

// TokenReview is authentication.k8s.io/v1 TokenReview: whose token is this?
var TokenReview = kinds.Def[authentication.TokenReview, *authentication.TokenReview]{
	Path: "authentication.k8s.io/v1/tokenreviews", Cluster: true, Virtual: true, Verbs: create, Validate: validateToken,
}

// SelfSubjectReview is authentication.k8s.io/v1 SelfSubjectReview: who am I?
var SelfSubjectReview = kinds.Def[authentication.SelfSubjectReview, *authentication.SelfSubjectReview]{
	Path: "authentication.k8s.io/v1/selfsubjectreviews", Cluster: true, Virtual: true, Verbs: create,
}

func validateToken(r *authentication.TokenReview) field.ErrorList {
	if r.Spec.Token == "" {
		return field.ErrorList{field.Required(field.NewPath("spec", "token"), "")}
	}
	return nil
}
