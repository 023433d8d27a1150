package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"

	"proa.dev/kit/atomicfile"
)

// Where logind is on the bus, and systemd, which may tell it to read its configuration again.
const (
	login        = "org.freedesktop.login1"
	loginPath    = dbus.ObjectPath("/org/freedesktop/login1")
	loginManager = login + ".Manager"
	loginUnit    = "systemd-logind.service"
	systemd      = "org.freedesktop.systemd1"
	systemdPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
)

// answerWithin bounds a call on the bus.
const answerWithin = 10 * time.Second

// bus is a connection to the bus of the machine.
type bus struct{ *dbus.Conn }

// dial connects to the bus at an address; "" is the machine's.
func dial(address string) (bus, error) {
	var conn *dbus.Conn
	var err error
	if address == "" {
		conn, err = dbus.ConnectSystemBus()
	} else {
		conn, err = dbus.Connect(address)
	}
	if err != nil {
		return bus{}, fmt.Errorf("connect to D-Bus: %w", err)
	}
	return bus{conn}, nil
}

// delay is how long logind lets locks delay a shutdown.
func (b bus) delay(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var v dbus.Variant
	call := b.Object(login, loginPath).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, loginManager, "InhibitDelayMaxUSec")
	if err := call.Store(&v); err != nil {
		return 0, fmt.Errorf("read InhibitDelayMaxUSec of logind: %w", err)
	}
	us, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("read InhibitDelayMaxUSec of logind: it is a %T", v.Value())
	}
	return time.Duration(us) * time.Microsecond, nil
}

// inhibit takes a lock that delays a shutdown until the file is closed.
func (b bus) inhibit(ctx context.Context) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var fd dbus.UnixFD
	call := b.Object(login, loginPath).CallWithContext(ctx, loginManager+".Inhibit", 0, "shutdown", "kubelet", "the pods of this node have to end first", "delay")
	if err := call.Store(&fd); err != nil {
		return nil, fmt.Errorf("take a lock of logind: %w", err)
	}
	return os.NewFile(uintptr(fd), "lock of logind"), nil
}

// shutdowns are the signals that a shutdown begins (true) or is called off (false). The channel closes with the connection.
func (b bus) shutdowns(ctx context.Context) (<-chan *dbus.Signal, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := b.AddMatchSignalContext(ctx, dbus.WithMatchInterface(loginManager), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(loginPath))
	if err != nil {
		return nil, fmt.Errorf("watch logind: %w", err)
	}
	out := make(chan *dbus.Signal, 8)
	b.Signal(out)
	return out, nil
}

// override is the file by which logind allows so long a delay.
const override = "99-kubelet.conf"

// settle is how often, and after what times, logind is asked whether it has read its configuration.
var settle = [...]time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, 1600 * time.Millisecond}

// allow has logind allow a delay of d, if it does not yet. dir is where it looks for configuration.
func (b bus) allow(ctx context.Context, d time.Duration, dir string) error {
	have, err := b.delay(ctx)
	if err != nil || have >= d {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("# Pods have to end before the machine goes down.\n[Login]\nInhibitDelayMaxSec=%.0f\n", d.Seconds())
	if err := atomicfile.Write(filepath.Join(dir, override), []byte(text), 0o644); err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	const hup = int32(1)
	if err := b.Object(systemd, systemdPath).CallWithContext(asked, systemd+".Manager.KillUnit", 0, loginUnit, "all", hup).Err; err != nil {
		return fmt.Errorf("have logind read its configuration: %w", err)
	}
	for _, wait := range settle {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if have, err = b.delay(ctx); err != nil || have >= d {
			return err
		}
	}
	return fmt.Errorf("logind delays a shutdown by %v at most, and pods have %v to end: set InhibitDelayMaxSec in its configuration", have, d)
}

// active is what a signal says.
func active(s *dbus.Signal) (bool, error) {
	if s == nil || len(s.Body) == 0 {
		return false, errors.New("PrepareForShutdown says nothing")
	}
	on, ok := s.Body[0].(bool)
	if !ok {
		return false, fmt.Errorf("PrepareForShutdown says %v", s.Body[0])
	}
	return on, nil
}
