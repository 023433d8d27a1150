package supervise

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// text is an error that is only words; failure adds the action to one. This package does without fmt.
type text string

func (t text) Error() string { return string(t) }

type failure struct {
	action string
	err    error
}

func (f *failure) Error() string { return f.action + ": " + f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{action, err}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// writeFile writes text to a file in one write, as cgroup and proc files want it.
func writeFile(path, value string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(value))
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}

// readFile reads a small file.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var out []byte
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(out), nil
		}
		out = append(out, buf[:n]...)
	}
}
