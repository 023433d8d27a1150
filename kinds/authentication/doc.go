// Package authentication holds the kinds of authentication.k8s.io: questions that the API server answers and never stores. It
// imports kinds, object and k8s.io/api. Read reviews.go.
package authentication
