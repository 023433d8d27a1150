package volumes

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

// DescendingPath wants a relative path that does not leave its root.
func DescendingPath(e *check.Errors, p *field.Path, v string) {
	if path.IsAbs(v) {
		e.Invalid(p, v, "must be a relative path")
	}
	NoBacksteps(e, p, v)
}

// NoBacksteps wants a path without "..".
func NoBacksteps(e *check.Errors, p *field.Path, v string) {
	if StepsBack(v) {
		e.Invalid(p, v, "must not contain '..'")
	}
}

// StepsBack says whether a part of the path is "..".
func StepsBack(v string) bool {
	for part := range strings.SplitSeq(v, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
