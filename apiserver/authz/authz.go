package authz

import (
	"context"

	"proa.dev/apiserver/authn"
)

// Attributes are what a request is judged by.
type Attributes struct {
	User                                authn.User
	Verb, Group, Version, Resource, Sub string
	Namespace, Name                     string
	Path                                string // for requests that are not about a resource
	ResourceRequest                     bool
}

// Decision is the answer, and why.
type Decision struct {
	Allowed bool
	Reason  string
}

// Authorizer says whether a request is allowed.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (Decision, error)
}
