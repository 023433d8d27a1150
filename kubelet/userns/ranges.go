package userns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// user is whose ranges the node gives to its pods.
const user = "kubelet"

// ranges returns the numbers that the node may give away. Without a user kubelet those are all but the first 65536 and the last, among which
// is the one that means nobody.
func ranges(etc string) (first, size uint32, err error) {
	known, err := lines(filepath.Join(etc, "passwd"))
	if err != nil {
		return 0, 0, err
	}
	uids, err := lines(filepath.Join(etc, "subuid"))
	if err != nil {
		return 0, 0, err
	}
	if len(known) == 0 || len(uids) == 0 {
		return PerPod, math.MaxUint32 - 2*PerPod + 1, nil
	}
	gids, err := lines(filepath.Join(etc, "subgid"))
	if err != nil {
		return 0, 0, err
	}
	if len(uids) != 1 || len(gids) != 1 || uids[0] != gids[0] {
		return 0, 0, fmt.Errorf("want one range for user %q in subuid, and the same in subgid", user)
	}
	_, text, _ := strings.Cut(uids[0], ":")
	from, count, _ := strings.Cut(text, ":")
	a, err := strconv.ParseUint(from, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("first number of user %q: %w", user, err)
	}
	b, err := strconv.ParseUint(count, 10, 32)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("how many numbers user %q has: %w", user, err)
	case a%PerPod != 0:
		return 0, 0, fmt.Errorf("kubelet user assigned ID %d is not a multiple of %d", a, PerPod)
	case a < PerPod:
		return 0, 0, fmt.Errorf("kubelet user assigned ID %d must be greater or equal to %d", a, PerPod)
	case b == 0 || b%PerPod != 0:
		return 0, 0, fmt.Errorf("kubelet user assigned IDs length %d is not a multiple of %d", b, PerPod)
	case a+b > math.MaxUint32:
		return 0, 0, fmt.Errorf("the %d numbers of user %q from %d are more than there are", b, user, a)
	}
	return uint32(a), uint32(b), nil
}

// lines are those of a file that begin with the user's name; a file that is not there has none.
func lines(path string) (found []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte(user+":")) {
			found = append(found, string(bytes.TrimSpace(line)))
		}
	}
	return found, nil
}
