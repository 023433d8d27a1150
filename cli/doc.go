// Package cli is the commands of proa, one file each, listed in cli.go. It turns words into a config.Config, calls package process,
// and prints for people: what, why, next step. It imports process and config.
package cli
