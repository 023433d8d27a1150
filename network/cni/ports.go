package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/dump"
	"proa.dev/network/conntrack"
	"proa.dev/network/nft"
)

// tableName is the nftables table of the plugin, in both families.
const tableName = "proa-pods"

// The sets of the table.
var (
	hostPorts = nft.Set{Name: "host-ports", Key: []nft.Type{nft.Addr, nft.L4, nft.Port}, Data: []nft.Type{nft.Addr, nft.Port}}
	hairpin   = nft.Set{Name: "hairpin", Key: []nft.Type{nft.Addr, nft.Addr}}
)

// ports are the nftables rules of the plugin. The kernel's elements are the only record of which pod has which host port: they
// are read once, at start.
type ports struct {
	nft *nft.Conn
	ct  *conntrack.Table
	nl  *netlink.Handle // the plugin's

	mu    sync.Mutex // guards all below and the tables
	cfg   Config
	byPod map[netip.Addr][]entry
}

type entry struct {
	set string
	el  nft.Element
}

func openPorts(nl *netlink.Handle) (*ports, error) {
	conn, err := nft.Open()
	if err != nil {
		return nil, err
	}
	ct, err := conntrack.Open()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &ports{nft: conn, ct: ct, nl: nl, byPod: map[netip.Addr][]entry{}}, nil
}

// prepare makes the tables or adopts those that are there.
func (p *ports) prepare(cfg Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = cfg
	for _, r := range cfg.PodCIDRs {
		if err := p.adopt(rules(cfg, r)); err != nil {
			return err
		}
	}
	return nil
}

func (p *ports) adopt(want *nft.Ruleset) error {
	have, err := p.nft.Load(want.Table, hostPorts, hairpin)
	if err != nil {
		return err
	}
	want.Elements = map[string][]nft.Element{}
	for set, elements := range have.Elements {
		for _, e := range elements {
			pod, ok := podOf(want.Family, set, e)
			if !ok {
				continue
			}
			want.Elements[set] = append(want.Elements[set], e)
			p.byPod[pod] = append(p.byPod[pod], entry{set, e})
		}
	}
	ch := nft.Diff(have, want)
	if ch.Empty() {
		return nil
	}
	return p.nft.Do(ch)
}

// makeMissing makes the tables anew that are not there, with the host ports there were, and says whether that was so.
func (p *ports) makeMissing() (made bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restore()
}

// restore is makeMissing; p.mu is held.
func (p *ports) restore() (made bool, err error) {
	for _, r := range p.cfg.PodCIDRs {
		want := rules(p.cfg, r)
		have, err := p.nft.Load(want.Table)
		if err != nil {
			return made, err
		}
		if have.Exists && have.Layout == want.Layout() {
			continue
		}
		want.Elements = map[string][]nft.Element{}
		for a, entries := range p.byPod {
			for _, e := range entries {
				if a.Is4() == r.Addr().Is4() {
					want.Elements[e.set] = append(want.Elements[e.set], e.el)
				}
			}
		}
		if err := p.nft.Do(nft.Diff(have, want)); err != nil {
			return made, err
		}
		made = true
	}
	return made, nil
}

// podOf is the address of the pod that an element belongs to.
func podOf(f nft.Family, set string, e nft.Element) (netip.Addr, bool) {
	if set == hairpin.Name {
		return nft.AddrAt(f, e.Key, 0)
	}
	return nft.AddrAt(f, e.Val, 0)
}

// rules is the table of one family; r is the node's range of it.
func rules(cfg Config, r netip.Prefix) *nft.Ruleset {
	f, loopback, group := nft.IPv4, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/4")
	if r.Addr().Is6() {
		f, loopback, group = nft.IPv6, netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8")
	}
	redirect := []nft.Rule{
		nft.NewRule(nft.Local(nft.DAddr), f.Fields(8, nft.DAddr, nft.Proto, nft.DPort), nft.Map(8, hostPorts.Name, 16), f.DNAT(16)),
		nft.NewRule(nft.Local(nft.DAddr), f.Fields(8, nft.AnyAddr, nft.Proto, nft.DPort), nft.Map(8, hostPorts.Name, 16), f.DNAT(16)),
	}
	leaving := nft.Chain{Name: "leaving"}
	for _, stay := range append(append([]netip.Prefix{group}, cfg.ClusterCIDRs...), cfg.ServiceCIDRs...) {
		if stay.Addr().Is4() == r.Addr().Is4() {
			leaving.Rules = append(leaving.Rules, nft.NewRule(f.Within(nft.DAddr, stay), nft.Then(nft.Verdict{Kind: nft.Return})))
		}
	}
	leaving.Rules = append(leaving.Rules, nft.NewRule(nft.Masquerade()))
	return &nft.Ruleset{
		Table: nft.Table{Family: f, Name: tableName},
		Sets:  []nft.Set{hostPorts, hairpin},
		Chains: []nft.Chain{
			// Before connection tracking rewrites replies: no packet on a wire may be meant for a loopback address.
			{Name: "loopback", Hook: &nft.Hook{Type: "filter", Point: nft.Prerouting, Priority: -300}, Rules: []nft.Rule{
				nft.NewRule(nft.NotFromLink("lo"), f.Within(nft.DAddr, loopback), nft.Then(nft.Verdict{Kind: nft.Drop}))}},
			{Name: "redirect", Hook: &nft.Hook{Type: "nat", Point: nft.Prerouting, Priority: -100}, Rules: redirect},
			{Name: "redirect-own", Hook: &nft.Hook{Type: "nat", Point: nft.Output, Priority: -100}, Rules: redirect},
			leaving,
			{Name: "masquerade", Hook: &nft.Hook{Type: "nat", Point: nft.Postrouting, Priority: 100}, Rules: []nft.Rule{
				nft.NewRule(nft.Redirected(), f.Within(nft.SAddr, loopback), nft.Masquerade()),
				nft.NewRule(nft.Redirected(), f.Fields(8, nft.SAddr, nft.DAddr), nft.In(8, hairpin.Name), nft.Masquerade()),
				nft.NewRule(f.Within(nft.SAddr, r), nft.Then(nft.Verdict{Kind: nft.Jump, Chain: leaving.Name}))}},
		},
	}
}

// add makes host ports lead to a pod. A port that leads to another pod already is an error.
func (p *ports) add(pod []netip.Addr, want []Port) error {
	if len(want) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var changes []nft.Change
	for _, a := range pod {
		f := nft.IPv4
		if a.Is6() {
			f = nft.IPv6
		}
		ch := nft.Change{Table: nft.Table{Family: f, Name: tableName}}
		entries, err := portEntries(a, want)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !has(p.byPod[a], e) {
				ch.Put(e.set, e.el)
			}
		}
		changes = append(changes, ch)
	}
	err := p.nft.Do(changes...)
	if errors.Is(err, unix.ENOENT) { // somebody deleted the tables
		if _, err = p.restore(); err == nil {
			err = p.nft.Do(changes...)
		}
	}
	if err != nil {
		return fmt.Errorf("open host ports %v: %w", want, err)
	}
	var errs error
	for _, a := range pod {
		p.byPod[a], _ = portEntries(a, want)
		errs = errors.Join(errs, p.forget(a, want))
	}
	return errs
}

// forget makes clients of UDP host ports that sent to the pod before, or to nobody, find this one.
func (p *ports) forget(pod netip.Addr, want []Port) error {
	udp := map[uint16]bool{}
	for _, w := range want {
		if proto, err := protocolNumber(w.Protocol); err == nil && proto == unix.IPPROTO_UDP && w.HostPort != 0 {
			udp[w.HostPort] = true
		}
	}
	if len(udp) == 0 {
		return nil
	}
	addrs, err := dump.Whole(func() ([]netlink.Addr, error) {
		return p.nl.AddrList(nil, netlink.FAMILY_ALL)
	})
	if err != nil {
		return fmt.Errorf("list addresses of the node: %w", err)
	}
	node := map[netip.Addr]bool{}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			node[ip.Unmap()] = true
		}
	}
	return p.ct.Forget(pod.Is6(), func(f conntrack.Flow) bool {
		return f.Proto == unix.IPPROTO_UDP && udp[f.To.Port()] && node[f.To.Addr()] && f.From.Addr() != pod
	})
}

func has(es []entry, e entry) bool {
	for _, have := range es {
		if have == e {
			return true
		}
	}
	return false
}

// portEntries are the elements of one address of a pod.
func portEntries(a netip.Addr, want []Port) ([]entry, error) {
	var out []entry
	for _, w := range want {
		if w.HostPort == 0 {
			continue
		}
		proto, err := protocolNumber(w.Protocol)
		if err != nil {
			return nil, err
		}
		host := w.HostIP.Unmap()
		if !host.IsValid() || host.IsUnspecified() {
			host = unspecified(a)
		}
		if host.Is4() != a.Is4() {
			continue
		}
		out = append(out, entry{hostPorts.Name, nft.Element{
			Key: string(nft.Key{}.Addr(host).L4(proto).Port(w.HostPort)),
			Val: string(nft.Key{}.Addr(a).Port(w.ContainerPort)),
		}})
	}
	if len(out) > 0 {
		out = append(out, entry{hairpin.Name, nft.Element{Key: string(nft.Key{}.Addr(a).Addr(a))}})
	}
	return out, nil
}

func protocolNumber(name string) (uint8, error) {
	switch name {
	case "", "TCP", "tcp":
		return unix.IPPROTO_TCP, nil
	case "UDP", "udp":
		return unix.IPPROTO_UDP, nil
	case "SCTP", "sctp":
		return unix.IPPROTO_SCTP, nil
	}
	return 0, fmt.Errorf("unknown protocol %q", name)
}

// remove closes the host ports of a pod.
func (p *ports) remove(pod []netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var changes []nft.Change
	for _, a := range pod {
		if len(p.byPod[a]) == 0 {
			continue
		}
		ch := nft.Change{Table: nft.Table{Family: nft.IPv4, Name: tableName}}
		if a.Is6() {
			ch.Table.Family = nft.IPv6
		}
		for _, e := range p.byPod[a] {
			ch.Take(e.set, e.el)
		}
		changes = append(changes, ch)
	}
	if len(changes) == 0 {
		return nil
	}
	if err := p.nft.Do(changes...); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("close host ports of %v: %w", pod, err)
	}
	for _, a := range pod {
		delete(p.byPod, a)
	}
	return nil
}

// keep closes the host ports of all pods but those with these addresses.
func (p *ports) keep(live map[netip.Addr]bool) error {
	p.mu.Lock()
	var dead []netip.Addr
	for a := range p.byPod {
		if !live[a] {
			dead = append(dead, a)
		}
	}
	p.mu.Unlock()
	return p.remove(dead)
}

func (p *ports) cleanup() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	tables, err := p.nft.Tables(tableName)
	for _, t := range tables {
		err = errors.Join(err, p.nft.Delete(t))
	}
	clear(p.byPod)
	return err
}

func (p *ports) close() {
	p.nft.Close()
	p.ct.Close()
}
