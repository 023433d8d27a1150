package cri

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/oci"
)

// mapsUsers reports whether pods of a handler may have user namespaces: the built-in runtime makes them, where the kernel lets it make
// user namespaces and show file systems, tmpfs among them, through them.
func (r *Runtime) mapsUsers(handler string) bool {
	if _, ok := r.oci[handler].(*oci.Builtin); !ok {
		return false
	}
	limit, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	if err != nil || strings.TrimSpace(string(limit)) == "0" {
		return false
	}
	var u unix.Utsname
	return unix.Uname(&u) == nil && sinceLinux(unix.ByteSliceToString(u.Release[:]), 6, 3)
}

// sinceLinux reports whether a kernel release such as "6.12.5-amd64" is at least major.minor.
func sinceLinux(release string, major, minor int) bool {
	number := func() int {
		n := 0
		for release != "" && release[0] >= '0' && release[0] <= '9' {
			n, release = 10*n+int(release[0]-'0'), release[1:]
		}
		release = strings.TrimPrefix(release, ".")
		return n
	}
	a, b := number(), number()
	return a > major || a == major && b >= minor
}
