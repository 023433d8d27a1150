package cache

import (
	"strings"

	"proa.dev/object"
)

// less orders keys as the store orders "namespace/name": byte by byte, the slash included, so that a list may begin in the
// cache and go on in the store.
func less(a, b object.Key) bool {
	if a.Namespace == b.Namespace {
		return a.Name < b.Name
	}
	return compareNamespaces(a.Namespace, b.Namespace) < 0
}

// compareNamespaces orders two different namespaces as if each had its slash behind it.
func compareNamespaces(a, b string) int {
	n := min(len(a), len(b))
	if c := strings.Compare(a[:n], b[:n]); c != 0 {
		return c
	}
	if len(a) < len(b) {
		return int('/') - int(b[n])
	}
	return int(a[n]) - int('/')
}
