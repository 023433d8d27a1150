package process

import "runtime/debug"

// Version is proa's own, Kubernetes the version whose API it serves.
const (
	Version    = "0.1.0"
	Kubernetes = "v1.37.2"
)

// Commit is the revision that the binary was built from; empty if the build did not record it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
