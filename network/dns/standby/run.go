package standby

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The files of the standby's directory.
const (
	TableFile = "table"
	AliveFile = "alive" // the daemon holds a lock on it
)

// failure names what was being done. Package fmt would cost every keeper of a pod its memory: it is the same binary.
func failure(doing string, err error) error { return errors.New(doing + ": " + err.Error()) }

// Word is the first argument of a standby; its directory is the second.
const Word = "names"

// Run is the whole life of a standby: it sleeps until the daemon that holds dir is dead, then answers until it is ended.
func Run(dir string) error {
	alive, err := os.Open(dir + "/" + AliveFile)
	if err != nil {
		return err
	}
	for {
		err = unix.Flock(int(alive.Fd()), unix.LOCK_SH)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return failure("wait for the daemon's end", err)
	}
	alive.Close() // the next daemon needs the lock
	data, err := os.ReadFile(dir + "/" + TableFile)
	if err != nil {
		return err
	}
	t, err := Decode(data)
	if err != nil {
		return failure("read "+dir+"/"+TableFile, err)
	}
	failed := make(chan error, len(t.Listen)) // all goroutines end with the process
	for _, at := range t.Listen {
		go func() { failed <- t.serve(at) }()
	}
	return <-failed
}

// bindTries bounds the wait for the dead daemon's socket to close: the lock may go before it.
const bindTries = 1000

func (t *Table) serve(at netip.AddrPort) error {
	fd, err := socket(at)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		err = unix.Bind(fd, sockaddr(at))
		if !errors.Is(err, unix.EADDRINUSE) || try == bindTries {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return failure("take over "+at.String(), err)
	}
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return failure("read from "+at.String(), err)
		}
		answer, forward := t.Answer(buf[:n])
		switch {
		case forward:
			query := append([]byte(nil), buf[:n]...)
			select {
			case asking <- struct{}{}:
				go func() { // ends by itself: each step has a limit
					defer func() { <-asking }()
					send(fd, t.ask(query), from)
				}()
			default: // too many already: the client tries again
			}
		case answer != nil:
			send(fd, answer, from)
		}
	}
}

// asking bounds the queries that wait for an upstream.
var asking = make(chan struct{}, 64)

func send(fd int, packet []byte, to unix.Sockaddr) {
	_ = unix.Sendto(fd, packet, 0, to) // UDP promises nothing
}

// ask passes a query on to the upstreams, one after another; without an answer it is a failure of ours.
func (t *Table) ask(query []byte) []byte {
	for _, up := range t.Upstreams {
		if answer := askOne(up, query); answer != nil {
			return answer
		}
	}
	q, _, _ := read(query)
	return reply(query, q, rcodeServFail)
}

func askOne(up netip.AddrPort, query []byte) []byte {
	fd, err := socket(up)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	limit := unix.Timeval{Sec: 2}
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit) != nil || unix.Connect(fd, sockaddr(up)) != nil {
		return nil
	}
	if _, err := unix.Write(fd, query); err != nil {
		return nil
	}
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil || n < headerLen || buf[0] != query[0] || buf[1] != query[1] {
		return nil
	}
	return buf[:n]
}

func socket(at netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, failure("open a socket", err)
	}
	return fd, nil
}

func sockaddr(at netip.AddrPort) unix.Sockaddr {
	if at.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
}
