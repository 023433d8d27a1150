// Package controltest is what the tests of controllers share: API, a client.Client and client.View in memory that keeps the rules of
// client/doc.go (frozen objects, checked; resourceVersion, uid, generation, finalizers, grace, status apart from spec; a write is in
// the View before it returns), and Plan, which runs golden txtar tests of pure plans.
//
// It knows no defaults, validation, admission or garbage collection: those are the API server's and tested there. Read api.go.
package controltest
