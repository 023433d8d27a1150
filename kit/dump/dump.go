package dump

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// tries is how often a list is asked for. Where links come and go all the time, one may be interrupted several times.
const tries = 20

// Whole asks for a list again while the kernel says that what it lists changed meanwhile, so that something may be missing. The last
// answer stands.
func Whole[T any](list func() (T, error)) (T, error) {
	for i := 1; ; i++ {
		out, err := list()
		if i == tries || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
}
