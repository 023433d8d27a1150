// Package storetest is the suite that every store.Store passes: Run in a test, Bench in a benchmark. It imports store and the
// standard library. Read storetest.go.
package storetest
