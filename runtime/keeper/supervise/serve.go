package supervise

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// conn is one connection of a daemon.
type conn struct {
	file *os.File
	mu   sync.Mutex // one frame at a time
}

// newConn takes over a descriptor.
func newConn(fd int) (*conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return &conn{file: os.NewFile(uintptr(fd), "conn")}, nil
}

func (c *conn) send(kind byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wire.WriteFrame(c.file, kind, payload)
}

// ok and fail answer a request. A daemon that is gone does not hear it; nothing depends on that.
func (c *conn) ok(payload []byte) { _ = c.send(wire.KindOK, payload) }
func (c *conn) fail(err error)    { _ = c.send(wire.KindError, []byte(err.Error())) }

// serve answers one connection: requests one after another, until one turns it into a stream.
func (k *Keeper) serve(c *conn) {
	defer c.file.Close()
	for {
		kind, payload, err := wire.ReadFrame(c.file, nil)
		if err != nil {
			return
		}
		switch kind {
		case wire.KindWatch:
			k.watchFromHere(c)
			return
		case wire.KindExec:
			k.exec(c, payload)
			return
		case wire.KindAttach:
			k.attach(c, payload)
			return
		}
		answer, err := k.answer(kind, payload)
		if err != nil {
			c.fail(err)
			continue
		}
		c.ok(answer)
		if kind == wire.KindStop {
			os.Exit(0)
		}
	}
}

// answer does one simple request.
func (k *Keeper) answer(kind byte, payload []byte) ([]byte, error) {
	switch kind {
	case wire.KindCreate:
		m, err := wire.DecodeCreate(payload)
		if err != nil {
			return nil, err
		}
		return k.create(m)
	case wire.KindSignal:
		m, err := wire.DecodeSignal(payload)
		if err != nil {
			return nil, err
		}
		return nil, k.signal(m)
	case wire.KindResize:
		m, err := wire.DecodeResize(payload)
		if err != nil {
			return nil, err
		}
		return nil, k.resize(m)
	case wire.KindStop:
		return nil, k.stop()
	}
	ref, err := wire.DecodeRef(payload)
	if err != nil {
		return nil, err
	}
	switch kind {
	case wire.KindStart:
		return k.start(ref.ID)
	case wire.KindForget:
		return nil, k.forget(ref.ID)
	case wire.KindReopen:
		return nil, k.reopen(ref.ID)
	}
	return nil, wire.ErrMalformed
}

// watchFromHere tells the state of every container, then every change.
func (k *Keeper) watchFromHere(c *conn) {
	k.mu.Lock()
	for _, x := range k.containers {
		if err := c.send(wire.KindState, x.state.Encode()); err != nil {
			k.mu.Unlock()
			return
		}
	}
	k.watchers[c] = struct{}{}
	c.ok(nil)
	k.mu.Unlock()
	k.watch(c)
}

// watch registers c and waits for the daemon to go away.
func (k *Keeper) watch(c *conn) {
	k.mu.Lock()
	k.watchers[c] = struct{}{}
	k.mu.Unlock()
	var one [1]byte
	for {
		if _, err := c.file.Read(one[:]); err != nil {
			break
		}
	}
	k.mu.Lock()
	delete(k.watchers, c)
	k.mu.Unlock()
	c.file.Close()
}

// tell sends the state of a container to all watchers. The caller holds k.mu. Few and small frames go to a watcher, so the
// socket's buffer takes them without waiting.
func (k *Keeper) tell(x *container) {
	body := x.state.Encode()
	for w := range k.watchers {
		_ = w.send(wire.KindState, body) // a watcher that is gone is removed by its reader
	}
}

// find returns a container.
func (k *Keeper) find(id string) (*container, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	x := k.containers[id]
	if x == nil {
		return nil, text("no container " + id)
	}
	return x, nil
}

// stop kills every container and waits for their ends to be recorded.
func (k *Keeper) stop() error {
	k.mu.Lock()
	k.stopping = true
	all := make([]*container, 0, len(k.containers))
	for _, x := range k.containers {
		all = append(all, x)
	}
	k.mu.Unlock()
	for _, x := range all {
		k.killAll(x)
	}
	for _, x := range all {
		<-x.ended
	}
	return nil
}
