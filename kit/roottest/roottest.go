package roottest

import (
	"os"
	"testing"
)

// Need skips the test, with the reason, unless it runs as root. Continuous integration runs as root, so there the test
// always counts.
func Need(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: %s", why)
	}
}
