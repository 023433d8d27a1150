package stage

import (
	"io"

	"golang.org/x/sys/unix"
)

var errEOF = io.EOF

// failure is an error with the action that met it, like fmt.Errorf("%s: %w") without fmt.
type failure struct {
	action string
	err    error
}

func (f *failure) Error() string { return f.action + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// wrap names the action; a nil error stays nil.
func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{action, err}
}

// text is an error that is only words.
type text string

func (t text) Error() string { return string(t) }

// is reports whether err is one of the given errnos, under any wrapping done here.
func is(err error, list ...unix.Errno) bool {
	for {
		f, ok := err.(*failure)
		if !ok {
			break
		}
		err = f.err
	}
	for _, e := range list {
		if err == e {
			return true
		}
	}
	return false
}
