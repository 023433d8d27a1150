// Package rbac holds the kinds of rbac.authorization.k8s.io: roles, and who has them. It imports kinds, object and k8s.io/api.
// Read role.go.
package rbac
