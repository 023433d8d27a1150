package authorization

import (
	authorization "k8s.io/api/authorization/v1"

	"proa.dev/kinds"
)

var create = []string{"create"}

// SubjectAccessReview is authorization.k8s.io/v1 SubjectAccessReview: may this user do that?
var SubjectAccessReview = kinds.Def[authorization.SubjectAccessReview, *authorization.SubjectAccessReview]{
	Path: "authorization.k8s.io/v1/subjectaccessreviews", Cluster: true, Virtual: true, Verbs: create, Validate: validateSubject,
}

// LocalSubjectAccessReview is authorization.k8s.io/v1 LocalSubjectAccessReview: the same for one namespace, so that its
// administrators may ask.
var LocalSubjectAccessReview = kinds.Def[authorization.LocalSubjectAccessReview, *authorization.LocalSubjectAccessReview]{
	Path: "authorization.k8s.io/v1/localsubjectaccessreviews", Virtual: true, Verbs: create, Validate: validateLocal,
}

// SelfSubjectAccessReview is authorization.k8s.io/v1 SelfSubjectAccessReview: may I do that?
var SelfSubjectAccessReview = kinds.Def[authorization.SelfSubjectAccessReview, *authorization.SelfSubjectAccessReview]{
	Path: "authorization.k8s.io/v1/selfsubjectaccessreviews", Cluster: true, Virtual: true, Verbs: create, Validate: validateSelf,
}

// SelfSubjectRulesReview is authorization.k8s.io/v1 SelfSubjectRulesReview: what may I do in this namespace?
var SelfSubjectRulesReview = kinds.Def[authorization.SelfSubjectRulesReview, *authorization.SelfSubjectRulesReview]{
	Path: "authorization.k8s.io/v1/selfsubjectrulesreviews", Cluster: true, Virtual: true, Verbs: create,
}
