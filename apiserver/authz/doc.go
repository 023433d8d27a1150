// Package authz says whether a user may do what a request asks: role-based access control (RBAC) exactly as Kubernetes has it, and
// the rule for nodes, which may only touch what their own pods need. It also holds the roles that every cluster begins with
// (policy.txt), impersonation, and the check that nobody grants more than they hold.
//
// Rules come from the roles and bindings in a View. An index by subject follows their events, so a decision looks at the bindings
// of one user and their groups only, never at all of them.
//
// Imports authn, client, object and kit. Read authz.go, then rbac.go; policy.txt for the roles.
package authz
