package dump

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	bad := errors.New("no such device")
	for name, c := range map[string]struct {
		errs  []error // of one call after another; the last one stays
		asked int
		want  error
	}{
		"at once":           {[]error{nil}, 1, nil},
		"interrupted twice": {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, 3, nil},
		"always":            {[]error{netlink.ErrDumpInterrupted}, tries, netlink.ErrDumpInterrupted},
		"failed":            {[]error{netlink.ErrDumpInterrupted, bad}, 2, bad},
	} {
		asked := 0
		got, err := Whole(func() (int, error) {
			err := c.errs[min(asked, len(c.errs)-1)]
			asked++
			return asked, err
		})
		if !errors.Is(err, c.want) || asked != c.asked || got != asked {
			t.Errorf("%s: asked %d times, %v", name, asked, err)
		}
	}
}
