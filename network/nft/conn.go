package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// elementsPerMessage keeps the list of elements in one message below the 64 KiB that a netlink attribute can hold.
	elementsPerMessage = 500
	// socketBuffer takes a transaction of 100,000 elements: all of it is one write to the socket.
	socketBuffer = 64 << 20
)

// Conn changes and reads the tables of one network namespace: that of the thread that opened it.
type Conn struct {
	mu sync.Mutex // guards nl: one transaction or dump at a time
	nl *nftables.Conn
}

// Open connects to nftables. It needs CAP_NET_ADMIN.
func Open() (*Conn, error) {
	nl, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(buffers))
	if err != nil {
		return nil, fmt.Errorf("open nftables socket: %w", err)
	}
	return &Conn{nl: nl}, nil
}

// buffers asks for large socket buffers beyond the limits of the host, which CAP_NET_ADMIN of the owning user namespace may;
// without it the plain request is bounded, and large transactions fail with a clear error.
func buffers(c *netlink.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		for _, opt := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[0], socketBuffer) != nil {
				set = errors.Join(set, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt[1], socketBuffer))
			}
		}
	})
	return errors.Join(err, set)
}

// Close ends the connection. The tables stay.
func (c *Conn) Close() error { return c.nl.CloseLasting() }

// Tables lists the tables whose name begins with prefix, in both families.
func (c *Conn) Tables(prefix string) ([]Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Table
	for _, f := range []Family{IPv4, IPv6} {
		found, err := c.nl.ListTablesOfFamily(nftables.TableFamily(f))
		if err != nil {
			return nil, fmt.Errorf("list %s tables: %w", f, err)
		}
		for _, t := range found {
			if strings.HasPrefix(t.Name, prefix) {
				out = append(out, Table{f, t.Name})
			}
		}
	}
	return out, nil
}

// Delete removes a table with all it holds. A table that does not exist is no error.
func (c *Conn) Delete(t Table) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	kt := t.kernel()
	c.nl.AddTable(kt)
	c.nl.DelTable(kt)
	return c.flush(t)
}

func (c *Conn) flush(t Table) error {
	if err := c.nl.Flush(); err != nil {
		return fmt.Errorf("change table %s: %w", t, err)
	}
	return nil
}

func (t Table) kernel() *nftables.Table {
	return &nftables.Table{Name: t.Name, Family: nftables.TableFamily(t.Family)}
}

func (s Set) kernel(t *nftables.Table) *nftables.Set {
	f := Family(t.Family)
	k := &nftables.Set{Table: t, Name: s.Name, KeyType: concat(f, s.Key), KeyByteOrder: binaryutil.BigEndian,
		Dynamic: s.Dynamic, HasTimeout: s.Dynamic, Size: s.Size, Interval: s.Ranges, Concatenation: s.Ranges && len(s.Key) > 1}
	switch {
	case s.Verdicts:
		k.IsMap, k.DataType = true, nftables.TypeVerdict
	case len(s.Data) > 0:
		k.IsMap, k.DataType = true, concat(f, s.Data)
	}
	return k
}

// Do makes the changes in one transaction: all of them, or on error none.
func (c *Conn) Do(changes ...Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range changes {
		if err := c.queue(&changes[i]); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return c.flush(changes[0].Table)
}

func (c *Conn) queue(ch *Change) error {
	t := ch.Table.kernel()
	if ch.Replace {
		c.nl.AddTable(t) // so that deleting cannot fail
		c.nl.DelTable(t)
		c.nl.AddTable(t)
	}
	for _, s := range ch.Sets {
		if err := c.nl.AddSet(s.kernel(t), nil); err != nil {
			return fmt.Errorf("add set %s: %w", s.Name, err)
		}
	}
	for _, chain := range ch.Chains { // all chains before any rule, which may go to a later one
		c.nl.AddChain(chain.kernel(t))
	}
	for _, chain := range ch.Chains {
		for _, r := range chain.Rules {
			c.nl.AddRule(&nftables.Rule{Table: t, Chain: &nftables.Chain{Name: chain.Name, Table: t}, Exprs: r.exprs})
		}
	}
	for name, elements := range ch.Remove {
		if err := inChunks(elements, func(es []nftables.SetElement) error {
			return c.nl.SetDeleteElements(&nftables.Set{Table: t, Name: name}, es)
		}); err != nil {
			return fmt.Errorf("remove elements of %s: %w", name, err)
		}
	}
	for name, elements := range ch.Add {
		if err := inChunks(elements, func(es []nftables.SetElement) error {
			return c.nl.SetAddElements(&nftables.Set{Table: t, Name: name}, es)
		}); err != nil {
			return fmt.Errorf("add elements to %s: %w", name, err)
		}
	}
	for _, name := range ch.DropChains {
		chain := &nftables.Chain{Name: name, Table: t}
		c.nl.FlushChain(chain)
		c.nl.DelChain(chain)
	}
	return nil
}

func (chain Chain) kernel(t *nftables.Table) *nftables.Chain {
	k := &nftables.Chain{Name: chain.Name, Table: t}
	if h := chain.Hook; h != nil {
		accept := nftables.ChainPolicyAccept
		k.Type = nftables.ChainType(h.Type)
		k.Hooknum = nftables.ChainHookRef(nftables.ChainHook(h.Point))
		k.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(h.Priority))
		k.Policy = &accept
	}
	return k
}

func inChunks(elements []Element, fn func([]nftables.SetElement) error) error {
	for len(elements) > 0 {
		n := min(len(elements), elementsPerMessage)
		chunk := make([]nftables.SetElement, n)
		for i, e := range elements[:n] {
			chunk[i] = e.kernel()
		}
		if err := fn(chunk); err != nil {
			return err
		}
		elements = elements[n:]
	}
	return nil
}

func (e Element) kernel() nftables.SetElement {
	k := nftables.SetElement{Key: []byte(e.Key), KeyEnd: []byte(e.KeyEnd), Val: []byte(e.Val)}
	if e.Verdict.Kind != NoVerdict {
		kind, _ := e.Verdict.kernel()
		k.VerdictData = &expr.Verdict{Kind: kind, Chain: e.Verdict.Chain}
	}
	return k
}

// Load reads what the kernel holds of a table; of the sets it reads the elements of those that are named.
func (c *Conn) Load(t Table, sets ...Set) (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := State{Chains: map[string]bool{}, Elements: map[string]map[string]Element{}}
	tables, err := c.nl.ListTablesOfFamily(nftables.TableFamily(t.Family))
	if err != nil {
		return st, fmt.Errorf("list %s tables: %w", t.Family, err)
	}
	for _, k := range tables {
		st.Exists = st.Exists || k.Name == t.Name
	}
	if !st.Exists {
		return st, nil
	}
	chains, err := c.nl.ListChainsOfTableFamily(nftables.TableFamily(t.Family))
	if err != nil {
		return st, fmt.Errorf("list chains of %s: %w", t, err)
	}
	for _, k := range chains {
		switch {
		case k.Table.Name != t.Name || k.Hooknum != nil:
		case strings.HasPrefix(k.Name, layoutPrefix):
			st.Layout = k.Name
		default:
			st.Chains[k.Name] = true
		}
	}
	for _, s := range sets {
		if st.Elements[s.Name], err = c.elements(t, s); err != nil {
			return st, err
		}
	}
	return st, nil
}

// Elements reads the elements of one set, by key.
func (c *Conn) Elements(t Table, s Set) (map[string]Element, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elements(t, s)
}

func (c *Conn) elements(t Table, s Set) (map[string]Element, error) {
	found, err := c.nl.GetSetElements(&nftables.Set{Table: t.kernel(), Name: s.Name})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // another layout: the table will be replaced
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s of %s: %w", s.Name, t, err)
	}
	out := make(map[string]Element, len(found))
	for _, k := range found {
		e := Element{Key: string(k.Key), KeyEnd: string(k.KeyEnd), Val: string(k.Val)}
		if s.Verdicts {
			e.Val, e.Verdict = "", parseVerdict(k.Val)
		}
		out[e.id()] = e
	}
	return out, nil
}

// parseVerdict reads the netlink attributes NFTA_VERDICT_CODE (1) and NFTA_VERDICT_CHAIN (2). What it does not know becomes
// no verdict, which differs from everything wanted and so is replaced.
func parseVerdict(raw []byte) Verdict {
	ad, err := netlink.NewAttributeDecoder(raw)
	if err != nil {
		return Verdict{}
	}
	ad.ByteOrder = binary.BigEndian
	var v Verdict
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			switch int32(ad.Uint32()) {
			case unix.NFT_GOTO:
				v.Kind = Goto
			case unix.NFT_JUMP:
				v.Kind = Jump
			case unix.NFT_RETURN:
				v.Kind = Return
			case 0: // NF_DROP
				v.Kind = Drop
			}
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = ad.String()
		}
	}
	if ad.Err() != nil {
		return Verdict{}
	}
	return v
}
