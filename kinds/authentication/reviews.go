package authentication

import (
	authentication "k8s.io/api/authentication/v1"

	"proa.dev/kinds"
)

var create = []string{"create"}

// TokenReview is authentication.k8s.io/v1 TokenReview: whose token is this?
var TokenReview = kinds.Def[authentication.TokenReview, *authentication.TokenReview]{
	Path: "authentication.k8s.io/v1/tokenreviews", Cluster: true, Virtual: true, Verbs: create,
}

// SelfSubjectReview is authentication.k8s.io/v1 SelfSubjectReview: who am I?
var SelfSubjectReview = kinds.Def[authentication.SelfSubjectReview, *authentication.SelfSubjectReview]{
	Path: "authentication.k8s.io/v1/selfsubjectreviews", Cluster: true, Virtual: true, Verbs: create,
}
