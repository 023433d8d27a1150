// Package apitest starts a real API server for tests: embedded etcd in a temporary directory, every built-in kind, plain HTTP on
// a loopback port, where everybody is the administrator unless the request says "Authorization: Bearer <user>[,group...]".
// Frozen objects are verified. Read apitest.go.
package apitest
