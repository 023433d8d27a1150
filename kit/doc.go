// Package kit is the folder of small packages that hold one idea each and know nothing of Kubernetes: run (a group of
// components), queue (keyed work with back-off), numbers (files of the kernel), h2 (HTTP/2 for a server), roottest (tests that need root)
// and the like. They import little beyond the standard library.
package kit
