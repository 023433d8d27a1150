package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/authn"
)

// Headers of impersonation.
const (
	impersonateUser  = "Impersonate-User"
	impersonateUID   = "Impersonate-Uid"
	impersonateGroup = "Impersonate-Group"
	impersonateExtra = "Impersonate-Extra-"

	authenticationGroup = "authentication.k8s.io"
	associatedNodeKey   = "authentication.kubernetes.io/node-name"
	associatedKeys      = "authentication.kubernetes.io/associated-node-keys"
)

// Impersonate is the user that a request wants to act as: a.User itself if it has no such headers, else the one that they name,
// where a.User may impersonate them for what a is about, or for everything. The headers are taken off the request. Errors are
// those of the API.
//
// There are five ways to be allowed (KEP-5284). Four take two rights: "impersonate:<way>" on who is impersonated and
// "impersonate-on:<way>:<verb>" on what the request is about. The last, "impersonate", takes the one right on each part of the user.
func Impersonate(ctx context.Context, h http.Header, a Attributes, z Authorizer) (authn.User, error) {
	as := authn.User{
		Name: h.Get(impersonateUser), UID: h.Get(impersonateUID),
		Groups: slices.Clone(h.Values(impersonateGroup)), Extra: authn.ExtraHeaders(h, impersonateExtra),
	}
	if as.Name == "" {
		if as.UID != "" || len(as.Groups) > 0 || len(as.Extra) > 0 {
			return a.User, apierrors.NewBadRequest(fmt.Sprintf(
				"requested &user.DefaultInfo{Name:%q, UID:%q, Groups:%#v, Extra:%#v} without impersonating a user name", "", as.UID, as.Groups, as.Extra))
		}
		return a.User, nil
	}
	for k := range h {
		if k == impersonateUser || k == impersonateUID || k == impersonateGroup || strings.HasPrefix(k, impersonateExtra) {
			h.Del(k)
		}
	}
	var first error
	for _, way := range []string{"associated-node", "arbitrary-node", "serviceaccount", "user-info", ""} {
		if !applies(way, as, a.User) {
			continue
		}
		u, err := impersonator{z, a.User, way}.try(ctx, as, a)
		if err == nil {
			return u, nil
		}
		if first == nil {
			first = err
		}
	}
	return a.User, first
}

// applies says whether a way is one for this user at all.
func applies(way string, as, by authn.User) bool {
	node, isNode := nodeName(as.Name)
	_, _, isAccount := account(as.Name)
	nameOnly := as.UID == "" && len(as.Groups) == 0 && len(as.Extra) == 0
	switch way {
	case "associated-node":
		_, _, pod := account(by.Name)
		at := by.Extra[associatedNodeKey]
		return isNode && nameOnly && pod && len(at) == 1 && at[0] == node
	case "arbitrary-node":
		return isNode && nameOnly
	case "serviceaccount":
		return isAccount && nameOnly
	case "user-info":
		return !isNode && !isAccount
	}
	return true
}

// impersonator checks one way. The empty one is the right for everything.
type impersonator struct {
	z   Authorizer
	by  authn.User
	way string
}

// try is the user that as becomes, or the refusal.
func (i impersonator) try(ctx context.Context, as authn.User, a Attributes) (authn.User, error) {
	if i.way == "associated-node" {
		// The decision must not depend on which node it is, so it is asked without what tells.
		var keys []string
		for k := range i.by.Extra {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		i.by.Extra = map[string][]string{associatedKeys: keys}
		a.User = i.by
	}
	if i.way != "" {
		a.Verb = "impersonate-on:" + i.way + ":" + a.Verb
		if err := i.ask(ctx, a); err != nil {
			return as, err
		}
	}
	groups := as.Groups
	if err := i.name(ctx, &as); err != nil {
		return as, err
	}
	if as.UID != "" {
		if err := i.ask(ctx, i.right(authenticationGroup, "uids", as.UID)); err != nil {
			return as, err
		}
	}
	if err := i.groups(ctx, groups); err != nil {
		return as, err
	}
	if err := i.extra(ctx, as.Extra); err != nil {
		return as, err
	}
	if as.Name == authn.Anonymous {
		as.Groups = with(as.Groups, authn.Unauthenticated)
	} else if !slices.Contains(as.Groups, authn.Unauthenticated) {
		as.Groups = with(as.Groups, authn.Authenticated)
	}
	return as, nil
}

func with(groups []string, group string) []string {
	if slices.Contains(groups, group) {
		return groups
	}
	return append(slices.Clip(groups), group)
}

// right is the right to impersonate one thing.
func (i impersonator) right(group, resource, name string) Attributes {
	verb := "impersonate"
	if i.way != "" {
		verb += ":" + i.way
	} else if resource == "users" || resource == "groups" || resource == "serviceaccounts" {
		group = ""
	}
	return Attributes{User: i.by, Verb: verb, Group: group, Version: "v1", Resource: resource, Name: name, ResourceRequest: true}
}

// ask is nil if the right is there.
func (i impersonator) ask(ctx context.Context, a Attributes) error {
	d, err := i.z.Authorize(ctx, a)
	switch {
	case d.Allowed:
		return nil
	case err != nil && d.Reason != "":
		return Forbidden(a, fmt.Sprintf("%v: %s", err, d.Reason))
	case err != nil:
		return Forbidden(a, err.Error())
	}
	return Forbidden(a, d.Reason)
}

// name checks the name, and gives nodes and accounts the groups that they have.
func (i impersonator) name(ctx context.Context, as *authn.User) error {
	a := i.right(authenticationGroup, "users", as.Name)
	if node, ok := nodeName(as.Name); ok && i.way != "" {
		a.Resource, a.Name = "nodes", node
		if i.way == "associated-node" {
			a.Name = "*"
		}
		as.Groups = []string{authn.NodesGroup}
	}
	if ns, name, ok := account(as.Name); ok {
		a = i.right(authenticationGroup, "serviceaccounts", name)
		a.Namespace = ns
		if len(as.Groups) == 0 {
			as.Groups = []string{authn.AccountsGroup, authn.AccountsGroup + ":" + ns}
		}
	}
	return i.ask(ctx, a)
}

// many is from how many on one right for all of them is asked for first.
const many = 4

func (i impersonator) groups(ctx context.Context, groups []string) error {
	if i.way != "" {
		switch {
		case slices.Contains(groups, ""):
			return Forbidden(i.right(authenticationGroup, "groups", ""), "impersonating the empty string group is not allowed")
		case slices.Contains(groups, authn.Masters):
			return Forbidden(i.right(authenticationGroup, "groups", authn.Masters), "impersonating the system:masters group is not allowed")
		case len(groups) >= many && i.ask(ctx, i.right(authenticationGroup, "groups", "*")) == nil:
			return nil
		}
	}
	for _, g := range groups {
		if err := i.ask(ctx, i.right(authenticationGroup, "groups", g)); err != nil {
			return err
		}
	}
	return nil
}

func (i impersonator) extra(ctx context.Context, extra map[string][]string) error {
	right := func(key, value string) Attributes {
		a := i.right(authenticationGroup, "userextras", value)
		a.Sub = key
		return a
	}
	if i.way != "" && len(extra) > 0 {
		if err := checkExtra(extra); err != nil {
			return Forbidden(right("", ""), err.Error())
		}
		n := 0
		for _, values := range extra {
			n += len(values)
		}
		if n >= many && i.ask(ctx, right("*", "*")) == nil {
			return nil
		}
	}
	for key, values := range extra {
		for _, v := range values {
			if err := i.ask(ctx, right(key, v)); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkExtra(extra map[string][]string) error {
	for key, values := range extra {
		switch errs := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key); {
		case key == "":
			return errors.New("impersonating the empty string key in extra is not allowed")
		case len(errs) > 0:
			return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", errs.ToAggregate())
		case key != strings.ToLower(key):
			return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
		case len(values) == 0:
			return errors.New("impersonating empty values in extra is not allowed")
		case slices.Contains(values, ""):
			return errors.New("impersonating the empty string value in extra is not allowed")
		}
	}
	return nil
}

// nodeName is the node that a user is the agent of.
func nodeName(user string) (string, bool) {
	name, ok := strings.CutPrefix(user, authn.NodePrefix)
	return name, ok && len(validation.NameIsDNSSubdomain(name, false)) == 0
}

// account is the service account that a user is.
func account(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, authn.AccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	ok = ok && len(validation.ValidateNamespaceName(namespace, false)) == 0 && len(validation.ValidateServiceAccountName(name, false)) == 0
	return namespace, name, ok
}
