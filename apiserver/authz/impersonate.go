package authz

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/authn"
)

// Headers of impersonation.
const (
	impersonateUser  = "Impersonate-User"
	impersonateUID   = "Impersonate-Uid"
	impersonateGroup = "Impersonate-Group"
	impersonateExtra = "Impersonate-Extra-"

	authenticationGroup = "authentication.k8s.io"
)

// Impersonate is the user that a request wants to act as: user itself if it has no such headers, else the one that they name,
// where user may impersonate each part of it. The headers are taken off the request. Errors are those of the API.
func Impersonate(ctx context.Context, r *http.Request, user authn.User, z Authorizer) (authn.User, error) {
	as := authn.User{
		Name: r.Header.Get(impersonateUser), UID: r.Header.Get(impersonateUID),
		Groups: slices.Clone(r.Header.Values(impersonateGroup)), Extra: authn.ExtraHeaders(r.Header, impersonateExtra),
	}
	if as.Name == "" {
		if as.UID != "" || len(as.Groups) > 0 || len(as.Extra) > 0 {
			return user, apierrors.NewInternalError(errors.New("requested impersonation without impersonating a user"))
		}
		return user, nil
	}
	for _, a := range impersonations(as) {
		a.User, a.Verb, a.ResourceRequest = user, "impersonate", true
		d, err := z.Authorize(ctx, a)
		if err != nil {
			return user, apierrors.NewInternalError(err)
		}
		if !d.Allowed {
			return user, Forbidden(a, d.Reason)
		}
	}
	for h := range r.Header {
		if strings.HasPrefix(h, "Impersonate-") {
			r.Header.Del(h)
		}
	}
	return finish(as), nil
}

// impersonations are the rights that it takes to act as u.
func impersonations(u authn.User) []Attributes {
	var all []Attributes
	if ns, name, ok := account(u.Name); ok {
		all = append(all, Attributes{Version: "v1", Resource: "serviceaccounts", Namespace: ns, Name: name})
	} else {
		all = append(all, Attributes{Version: "v1", Resource: "users", Name: u.Name})
	}
	if u.UID != "" {
		all = append(all, Attributes{Group: authenticationGroup, Version: "v1", Resource: "uids", Name: u.UID})
	}
	for _, g := range u.Groups {
		all = append(all, Attributes{Version: "v1", Resource: "groups", Name: g})
	}
	for k, values := range u.Extra {
		for _, v := range values {
			all = append(all, Attributes{Group: authenticationGroup, Version: "v1", Resource: "userextras", Sub: k, Name: v})
		}
	}
	return all
}

func account(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, authn.AccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}

// finish adds the groups that a real user of this name would have.
func finish(u authn.User) authn.User {
	if ns, _, ok := account(u.Name); ok && len(u.Groups) == 0 {
		u.Groups = []string{authn.AccountsGroup, authn.AccountsGroup + ":" + ns}
	}
	switch {
	case u.Name == authn.Anonymous:
		if !slices.Contains(u.Groups, authn.Unauthenticated) {
			u.Groups = append(u.Groups, authn.Unauthenticated)
		}
	case !slices.Contains(u.Groups, authn.Authenticated) && !slices.Contains(u.Groups, authn.Unauthenticated):
		u.Groups = append(u.Groups, authn.Authenticated)
	}
	return u
}
