// Package kit is the folder of small packages that hold one idea each and know nothing of Kubernetes: run (a group of
// components), queue (keyed work with back-off), roottest (tests that need root) and the like. Each imports at most the
// standard library.
package kit
