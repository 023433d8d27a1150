package logindtest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Logind is one that answers.
type Logind struct {
	Address string // of the bus
	Conf    string // its directory of configuration

	t      testing.TB
	listen *net.UnixListener

	mu     sync.Mutex // guards all below
	delay  time.Duration
	conn   *net.UnixConn
	serial uint32
	locks  []*os.File // our ends: they end when the other does
	taken  chan struct{}
	calls  []string
}

// New starts one that allows so long a delay. It ends with the test.
func New(t testing.TB, delay time.Duration) *Logind {
	t.Helper()
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "bus"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	d := &Logind{Address: "unix:path=" + filepath.Join(dir, "bus"), Conf: filepath.Join(dir, "conf"), t: t, listen: l, delay: delay, taken: make(chan struct{}, 16)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conn = c
			d.mu.Unlock()
			wg.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.Drop()
		wg.Wait()
	})
	return d
}

// Drop ends the connection.
func (d *Logind) Drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}

// Calls are the methods that were called so far.
func (d *Logind) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.calls...)
}

// Lock waits until the next lock is taken.
func (d *Logind) Lock() {
	d.t.Helper()
	select {
	case <-d.taken:
	case <-time.After(20 * time.Second):
		d.t.Fatal("no lock was taken in 20 s")
	}
}

// Held says whether the newest lock is held. With a time it waits so long for its end.
func (d *Logind) Held(wait time.Duration) bool {
	d.t.Helper()
	d.mu.Lock()
	if len(d.locks) == 0 {
		d.mu.Unlock()
		return false
	}
	f := d.locks[len(d.locks)-1]
	d.mu.Unlock()
	if err := f.SetReadDeadline(time.Now().Add(max(wait, time.Millisecond))); err != nil {
		d.t.Fatal(err)
	}
	_, err := f.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Shutdown says that a shutdown begins, or is called off.
func (d *Logind) Shutdown(begins bool) {
	d.t.Helper()
	if err := d.Signal(begins); err != nil {
		d.t.Fatal(err)
	}
}

// Signal sends PrepareForShutdown with anything in it.
func (d *Logind) Signal(body ...any) error {
	m := &dbus.Message{Type: dbus.TypeSignal, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/login1")), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.login1.Manager"),
		dbus.FieldMember: dbus.MakeVariant("PrepareForShutdown"), dbus.FieldSender: dbus.MakeVariant(":1.2")}}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.send(m)
}

// serve speaks with one client until it leaves.
func (d *Logind) serve(c *net.UnixConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	if err := welcome(c, in); err != nil {
		return
	}
	for {
		m, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		if m.Type == dbus.TypeMethodCall {
			if err := d.answer(m); err != nil {
				d.t.Errorf("answer %v: %v", m, err)
				return
			}
		}
	}
}

// welcome is the authentication protocol.
func welcome(c io.Writer, in *bufio.Reader) error {
	if _, err := in.ReadByte(); err != nil {
		return err
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := map[string]string{"AUTH": "REJECTED EXTERNAL", "AUTH EXTERNAL": "OK 0123456789abcdef0123456789abcdef", "NEGOTIATE_UNIX_FD": "AGREE_UNIX_FD"}[strings.TrimSpace(line)]
		switch {
		case strings.HasPrefix(line, "BEGIN"):
			return nil
		case answer == "":
			answer = "ERROR"
		}
		if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
			return err
		}
	}
}

func (d *Logind) answer(m *dbus.Message) error {
	member := m.Headers[dbus.FieldMember].Value().(string)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, member)
	r := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(m.Serial()), dbus.FieldSender: dbus.MakeVariant(":1.2")}}
	switch member {
	case "Hello":
		r.Body = []any{":1.1"}
	case "Get":
		r.Body = []any{dbus.MakeVariant(uint64(d.delay / time.Microsecond))}
	case "KillUnit":
		d.reload()
	case "Inhibit":
		if got := fmt.Sprint(m.Body[0], " ", m.Body[3]); got != "shutdown delay" {
			return fmt.Errorf("a lock for %s", got)
		}
		ours, theirs, err := os.Pipe()
		if err != nil {
			return err
		}
		defer theirs.Close()
		d.t.Cleanup(func() { ours.Close() })
		d.locks = append(d.locks, ours)
		r.Body = []any{dbus.UnixFD(theirs.Fd())}
		r.Headers[dbus.FieldUnixFDs] = dbus.MakeVariant(uint32(1))
		defer func() { d.taken <- struct{}{} }()
	}
	return d.send(r)
}

var delayLine = regexp.MustCompile(`(?m)^\[Login\]\nInhibitDelayMaxSec=(\d+)$`)

// reload reads the configuration.
func (d *Logind) reload() {
	text, err := os.ReadFile(filepath.Join(d.Conf, "99-kubelet.conf"))
	if found := delayLine.FindSubmatch(text); err == nil && found != nil {
		n, _ := strconv.Atoi(string(found[1])) // digits
		d.delay = time.Duration(n) * time.Second
	}
}

// send writes a message. d.mu is held.
func (d *Logind) send(m *dbus.Message) error {
	if len(m.Body) > 0 {
		m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	var b bytes.Buffer
	fds, err := m.EncodeToWithFDs(&b, binary.LittleEndian)
	if err != nil {
		return err
	}
	d.serial++
	binary.LittleEndian.PutUint32(b.Bytes()[8:], d.serial)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = d.conn.WriteMsgUnix(b.Bytes(), rights, nil)
	return err
}
