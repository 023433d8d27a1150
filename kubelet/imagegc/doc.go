// Package imagegc removes images that no container uses when the disk that holds them gets full: above 85 percent it removes, those that
// were unused for longest first, until 80 percent are left; and, if so configured, those that nobody used for long. It imports kubelet/cri. Read imagegc.go.
package imagegc
