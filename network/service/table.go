package service

import (
	"net/netip"
	"slices"

	"proa.dev/network/nft"
	"proa.dev/object"
)

// table is what the kernel shall hold, by Service. It does no I/O: set says what to change.
type table struct {
	ranges ranges
	ports  map[object.Key][]port
	// owner is the Service that a frontend belongs to: the first that asked. Others wait until it lets go.
	owner   map[frontend]object.Key
	waiting map[frontend][]object.Key
	self    map[netip.Addr]int             // how many ports have the address in hairpin
	chains  map[nft.Family]map[string]bool // that exist
	// adopted are the slots of an earlier process by key of the frontend; nil once used.
	adopted map[string][]netip.AddrPort
}

func newTable(r ranges) *table {
	return &table{ranges: r, ports: map[object.Key][]port{}, owner: map[frontend]object.Key{}, waiting: map[frontend][]object.Key{},
		self: map[netip.Addr]int{}, chains: map[nft.Family]map[string]bool{nft.IPv4: {}, nft.IPv6: {}}}
}

// step is what one or several calls of set change.
type step struct {
	// all says that the whole table is compared afterwards: v4 and v6 are not of use.
	all    bool
	v4, v6 nft.Change
	stale  stale
	// again are Services that may have a frontend now that another one let go of.
	again []object.Key
	// conflicts are frontends that a Service asked for and another one has.
	conflicts []conflict
}

// stale are frontends whose endpoints changed, with those that they have now: what leads to others is to be forgotten.
type stale struct {
	flows   map[frontend][]netip.AddrPort // tracked connections without an end of their own (UDP, SCTP)
	clients map[frontend][]netip.AddrPort // affinity
}

func note(m *map[frontend][]netip.AddrPort, fe frontend, now []netip.AddrPort) {
	if *m == nil {
		*m = map[frontend][]netip.AddrPort{}
	}
	(*m)[fe] = now
}

type conflict struct {
	front        frontend
	loser, owner object.Key
}

func newStep() *step {
	return &step{
		v4: nft.Change{Table: nft.Table{Family: nft.IPv4, Name: tableName}},
		v6: nft.Change{Table: nft.Table{Family: nft.IPv6, Name: tableName}},
	}
}

func (s *step) change(f nft.Family) *nft.Change {
	if f == nft.IPv6 {
		return &s.v6
	}
	return &s.v4
}

// changes are those of the families that change.
func (s *step) changes() []nft.Change {
	var out []nft.Change
	for _, ch := range []nft.Change{s.v4, s.v6} {
		if !ch.Empty() {
			out = append(out, ch)
		}
	}
	return out
}

// set makes the ports of one Service what they shall be; nil removes it.
func (t *table) set(key object.Key, want []port, out *step) {
	have := t.ports[key]
	t.letGo(key, have, want, out)
	for i := range want {
		p := &want[i]
		p.fronts = slices.DeleteFunc(p.fronts, func(fr front) bool { return !t.claim(key, fr.frontend, out) })
		if len(p.fronts) == 0 {
			continue
		}
		p.cluster = place(t.before(have, p, false), p.cluster)
		p.local = place(t.before(have, p, true), p.local)
	}
	if out.all {
		t.diffSelf(have, want, out)
	} else {
		t.diff(have, want, out)
	}
	t.noteStale(have, want, out)
	if len(want) == 0 {
		delete(t.ports, key)
	} else {
		t.ports[key] = want
	}
}

// letGo frees the frontends that the Service had and does not want any more.
func (t *table) letGo(key object.Key, have, want []port, out *step) {
	wanted := map[frontend]bool{}
	for i := range want {
		for _, fr := range want[i].fronts {
			wanted[fr.frontend] = true
		}
	}
	for i := range have {
		for _, fr := range have[i].fronts {
			if !wanted[fr.frontend] {
				delete(t.owner, fr.frontend)
				out.again = append(out.again, t.waiting[fr.frontend]...)
				delete(t.waiting, fr.frontend)
			}
		}
	}
}

func (t *table) claim(key object.Key, fe frontend, out *step) bool {
	owner, taken := t.owner[fe]
	if taken && owner != key {
		if !slices.Contains(t.waiting[fe], key) {
			t.waiting[fe] = append(t.waiting[fe], key)
			out.conflicts = append(out.conflicts, conflict{fe, key, owner})
		}
		return false
	}
	t.owner[fe] = key
	return true
}

// before is the slots that a port had: in the table, or in the kernel from an earlier process.
func (t *table) before(have []port, p *port, local bool) []netip.AddrPort {
	for i := range have {
		if have[i].name == p.name && have[i].family == p.family {
			if local {
				return have[i].local
			}
			return have[i].cluster
		}
	}
	first := uint32(0)
	if local {
		first = localSlots
	}
	return t.adopted[string(p.fronts[0].key().Number(first))]
}

// diff notes the elements and chains that come and go.
func (t *table) diff(have, want []port, out *step) {
	type id struct {
		family   nft.Family
		set, key string
	}
	gone := map[id]nft.Element{}
	for i := range have {
		p := &have[i]
		for _, fr := range p.fronts {
			items, _ := p.items(fr)
			for _, it := range items {
				gone[id{p.family, it.set, it.el.Key + it.el.KeyEnd}] = it.el
			}
		}
	}
	for i := range want {
		p := &want[i]
		ch := out.change(p.family)
		for _, fr := range p.fronts {
			items, choice := p.items(fr)
			t.needChains(p.family, choice, ch)
			for _, it := range items {
				k := id{p.family, it.set, it.el.Key + it.el.KeyEnd}
				old, had := gone[k]
				delete(gone, k)
				if had && old == it.el {
					continue
				}
				if had {
					ch.Take(it.set, old)
				}
				ch.Put(it.set, it.el)
			}
		}
	}
	for k, el := range gone {
		out.change(k.family).Take(k.set, el)
	}
	t.diffSelf(have, want, out)
}

func (t *table) needChains(f nft.Family, choice pick, ch *nft.Change) {
	if choice == (pick{}) || t.chains[f][choice.name()] {
		return
	}
	for _, c := range choice.chains(f, t.ranges) {
		t.chains[f][c.Name] = true
		ch.Chains = append(ch.Chains, c)
	}
}

// diffSelf counts who has which address in hairpin.
func (t *table) diffSelf(have, want []port, out *step) {
	count := map[netip.Addr]int{}
	for i := range want {
		if len(want[i].fronts) == 0 {
			continue
		}
		for _, a := range want[i].self {
			count[a]++
		}
	}
	for i := range have {
		if len(have[i].fronts) == 0 {
			continue
		}
		for _, a := range have[i].self {
			count[a]--
		}
	}
	for a, n := range count {
		was := t.self[a]
		now := was + n
		el := nft.Element{Key: string(nft.Key{}.Addr(a).Addr(a))}
		switch {
		case was == 0 && now > 0:
			out.change(familyOf(a)).Put(hairpinSet.Name, el)
		case was > 0 && now == 0:
			out.change(familyOf(a)).Take(hairpinSet.Name, el)
		}
		if now == 0 {
			delete(t.self, a)
		} else {
			t.self[a] = now
		}
	}
}

// noteStale notes the frontends whose endpoints are not what they were. Connections of TCP to an endpoint that shuts down are
// left to finish.
func (t *table) noteStale(have, want []port, out *step) {
	now, was := byFront(want), byFront(have)
	for fe, p := range was {
		q := now[fe]
		if q != nil && q.affinity == p.affinity && sameEndpoints(p, q) {
			continue
		}
		if fe.proto != 6 {
			note(&out.stale.flows, fe, q.endpoints())
		}
		if p.affinity == 0 {
			continue
		}
		if q == nil || q.affinity == 0 {
			note(&out.stale.clients, fe, nil)
		} else {
			note(&out.stale.clients, fe, q.endpoints())
		}
	}
	for fe, p := range now {
		if was[fe] == nil && fe.proto != 6 {
			note(&out.stale.flows, fe, p.endpoints())
		}
	}
}

func byFront(ports []port) map[frontend]*port {
	out := map[frontend]*port{}
	for i := range ports {
		for _, fr := range ports[i].fronts {
			out[fr.frontend] = &ports[i]
		}
	}
	return out
}

// endpoints are all that the port leads to; none for nil.
func (p *port) endpoints() []netip.AddrPort {
	if p == nil {
		return nil
	}
	if p.internalLocal || p.externalLocal {
		return append(slices.Clone(p.cluster), p.local...)
	}
	return p.cluster
}

func sameEndpoints(a, b *port) bool {
	return slices.Equal(a.cluster, b.cluster) && slices.Equal(a.local, b.local)
}

// ruleset is all that the table of one family shall hold.
func (t *table) ruleset(f nft.Family) *nft.Ruleset {
	rs := base(f, t.ranges)
	made := map[string]bool{}
	for _, ports := range t.ports {
		for i := range ports {
			p := &ports[i]
			if p.family != f {
				continue
			}
			for _, fr := range p.fronts {
				items, choice := p.items(fr)
				for _, it := range items {
					rs.Elements[it.set] = append(rs.Elements[it.set], it.el)
				}
				if choice == (pick{}) || made[choice.name()] {
					continue
				}
				for _, c := range choice.chains(f, t.ranges) {
					made[c.Name] = true
					rs.Chains = append(rs.Chains, c)
				}
			}
		}
	}
	for a := range t.self {
		if familyOf(a) == f {
			rs.Elements[hairpinSet.Name] = append(rs.Elements[hairpinSet.Name], nft.Element{Key: string(nft.Key{}.Addr(a).Addr(a))})
		}
	}
	t.chains[f] = made
	return rs
}

// adopt learns the slots that an earlier process gave.
func (t *table) adopt(f nft.Family, st nft.State) {
	if t.adopted == nil {
		t.adopted = map[string][]netip.AddrPort{}
	}
	for _, e := range st.Elements[endpointsMap.Name] {
		if len(e.Key) < 4 {
			continue
		}
		n := nft.NumberAt(e.Key, len(e.Key)-4)
		first, slot := uint32(0), n
		if n >= localSlots {
			first, slot = localSlots, n-localSlots
		}
		a, ok := nft.AddrAt(f, e.Val, 0)
		if !ok || slot > 1<<16 {
			continue
		}
		key := string(nft.Key(e.Key[:len(e.Key)-4]).Number(first))
		list := t.adopted[key]
		for int(slot) >= len(list) {
			list = append(list, netip.AddrPort{})
		}
		list[slot] = netip.AddrPortFrom(a, nft.PortAt(e.Val, len(e.Val)-4))
		t.adopted[key] = list
	}
}
