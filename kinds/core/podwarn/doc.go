// Package podwarn warns of pods, templates and claims that are valid but most likely not meant. It imports overlap; begin with
// podwarn.go.
package podwarn
