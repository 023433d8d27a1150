package service

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"proa.dev/network/nft"
)

const (
	// tableName is the nftables table of the proxy, in both families.
	tableName = "proa-services"
	// masqueradeBit of the packet mark says that a connection shall be masqueraded. Other software knows this bit of Kubernetes.
	masqueradeBit = 1 << 14
	// localSlots is where the slots of the endpoints on this node begin: the same endpoints stand among all the others too.
	localSlots = 1 << 20
	// maxClients bounds the memory of session affinity.
	maxClients = 1 << 20

	rejectChain = "reject"
)

// The sets and maps of the table. See doc.go.
var (
	servicesMap  = nft.Set{Name: "services", Key: []nft.Type{nft.Addr, nft.L4, nft.Port}, Verdicts: true}
	endpointsMap = nft.Set{Name: "endpoints", Key: []nft.Type{nft.Addr, nft.L4, nft.Port, nft.Number}, Data: []nft.Type{nft.Addr, nft.Port}}
	refusedMap   = nft.Set{Name: "refused", Key: []nft.Type{nft.Addr, nft.L4, nft.Port}, Verdicts: true}
	affinityMap  = nft.Set{Name: "affinity", Key: []nft.Type{nft.Addr, nft.Addr, nft.L4, nft.Port}, Data: []nft.Type{nft.Addr, nft.Port},
		Dynamic: true, Size: maxClients}
	allowedSet = nft.Set{Name: "allowed", Key: []nft.Type{nft.Addr, nft.L4, nft.Port, nft.Addr}, Ranges: true}
	hairpinSet = nft.Set{Name: "hairpin", Key: []nft.Type{nft.Addr, nft.Addr}}
)

// ranges are the address ranges of the cluster that rules speak of.
type ranges struct {
	pods, services []netip.Prefix
}

func of(f nft.Family, all []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		if familyOf(p.Addr()) == f {
			out = append(out, p)
		}
	}
	return out
}

// base is the table of one family without services.
func base(f nft.Family, r ranges) *nft.Ruleset {
	linkLocal := netip.MustParsePrefix("169.254.0.0/16")
	if f == nft.IPv6 {
		linkLocal = netip.MustParsePrefix("fe80::/10")
	}
	known := f.Fields(8, nft.DAddr, nft.Proto, nft.DPort)
	anyAddr := f.Fields(8, nft.AnyAddr, nft.Proto, nft.DPort)
	nodePorts := []nft.Part{nft.Local(nft.DAddr), f.Outside(nft.DAddr, linkLocal)}
	if f == nft.IPv6 { // there is no route_localnet for ::1
		nodePorts = append(nodePorts, f.Outside(nft.DAddr, netip.MustParsePrefix("::1/128")))
	}
	nodePorts = append(nodePorts, anyAddr, nft.Vmap(8, servicesMap.Name))

	var redirect, strays []nft.Rule
	for _, s := range of(f, r.services) {
		strangers := []nft.Part{f.Within(nft.DAddr, s)}
		for _, p := range of(f, r.pods) {
			strangers = append(strangers, f.Outside(nft.SAddr, p))
		}
		redirect = append(redirect, nft.NewRule(append(strangers, nft.NotLocal(nft.DAddr), nft.Mark(masqueradeBit))...))
		strays = append(strays, nft.NewRule(nft.NewConnection(), f.Within(nft.DAddr, s), nft.NotLocal(nft.DAddr),
			nft.Then(nft.Verdict{Kind: nft.Goto, Chain: rejectChain})))
	}
	redirect = append(redirect, nft.NewRule(known, nft.Vmap(8, servicesMap.Name)), nft.NewRule(nodePorts...))
	refuse := nft.NewRule(nft.NewConnection(), known, nft.Vmap(8, refusedMap.Name))
	hook := func(name, typ string, at nft.HookPoint, prio int32, rules ...nft.Rule) nft.Chain {
		return nft.Chain{Name: name, Hook: &nft.Hook{Type: typ, Point: at, Priority: prio}, Rules: rules}
	}
	return &nft.Ruleset{
		Table: nft.Table{Family: f, Name: tableName},
		Sets:  []nft.Set{servicesMap, endpointsMap, refusedMap, affinityMap, allowedSet, hairpinSet},
		Chains: []nft.Chain{
			{Name: rejectChain, Rules: []nft.Rule{nft.NewRule(nft.ResetTCP()), nft.NewRule(f.Reject())}},
			hook("redirect", "nat", nft.Prerouting, -100, redirect...),
			hook("redirect-own", "nat", nft.Output, -100, redirect...),
			hook("refuse-input", "filter", nft.Input, 0, refuse,
				nft.NewRule(nft.NewConnection(), nft.Local(nft.DAddr), anyAddr, nft.Vmap(8, refusedMap.Name))),
			hook("refuse-forward", "filter", nft.Forward, 0, append([]nft.Rule{refuse}, strays...)...),
			hook("refuse-output", "filter", nft.Output, 0, append([]nft.Rule{refuse}, strays...)...),
			hook("masquerade", "nat", nft.Postrouting, 100,
				nft.NewRule(nft.Marked(masqueradeBit), nft.Unmark(masqueradeBit), nft.Masquerade()),
				nft.NewRule(nft.Redirected(), f.Fields(8, nft.SAddr, nft.DAddr), nft.In(8, hairpinSet.Name), nft.Masquerade())),
		},
		Elements: map[string][]nft.Element{},
		Version:  version(f, r),
	}
}

// version is the text of one chain of every sort: another release that writes them in another way gets another table.
func version(f nft.Family, r ranges) string {
	var out strings.Builder
	for _, p := range []pick{{k: 1}, {k: 1, sticky: time.Hour, guarded: true}, {kind: nodePort, k: 1, kl: 1, policy: true}} {
		for _, c := range p.chains(f, r) {
			for _, rule := range c.Rules {
				out.WriteString(rule.Text + "\n")
			}
		}
	}
	return out.String()
}

// pick is a kind of choice. Its name says all of it, so that two processes mean the same chain by one name.
type pick struct {
	kind    kind
	guarded bool // only allowed clients
	policy  bool // traffic from outside goes to local endpoints only
	k, kl   int  // how many endpoints there are, and how many on this node
	sticky  time.Duration
}

// name is "pick.3", "node.3", "external.3.local.1", "pick.2.sticky.10800" and so on.
func (p pick) name() string {
	var b strings.Builder
	b.WriteString([...]string{"pick", "external", "node"}[p.kind])
	fmt.Fprintf(&b, ".%d", p.k)
	if p.policy {
		fmt.Fprintf(&b, ".local.%d", p.kl)
	}
	if p.sticky > 0 {
		fmt.Fprintf(&b, ".sticky.%d", int(p.sticky.Seconds()))
	}
	if p.guarded {
		b.WriteString(".guarded")
	}
	return b.String()
}

// chains are the chain of the choice and those it goes to.
func (p pick) chains(f nft.Family, r ranges) []nft.Chain {
	own := nft.Chain{Name: p.name()}
	if p.guarded {
		own.Rules = append(own.Rules, nft.NewRule(f.Fields(8, nft.DAddr, nft.Proto, nft.DPort, nft.SAddr),
			nft.NotIn(8, allowedSet.Name), nft.Then(nft.Verdict{Kind: nft.Drop})))
	}
	switch {
	case p.kind == internal:
		own.Rules = append(own.Rules, p.choose(f, p.k, 0)...)
		return []nft.Chain{own}
	case !p.policy:
		own.Rules = append(own.Rules, nft.NewRule(nft.Mark(masqueradeBit)))
		own.Rules = append(own.Rules, p.choose(f, p.k, 0)...)
		return []nft.Chain{own}
	}
	// Policy Local is about traffic from outside: pods and the node itself may use every endpoint.
	anywhere := nft.Chain{Name: "anywhere." + p.name(), Rules: p.choose(f, p.k, 0)}
	jump := nft.Then(nft.Verdict{Kind: nft.Goto, Chain: anywhere.Name})
	for _, pods := range of(f, r.pods) {
		own.Rules = append(own.Rules, nft.NewRule(f.Within(nft.SAddr, pods), jump))
	}
	own.Rules = append(own.Rules, nft.NewRule(nft.Local(nft.SAddr), nft.Mark(masqueradeBit), jump))
	if p.kl == 0 {
		own.Rules = append(own.Rules, nft.NewRule(nft.Then(nft.Verdict{Kind: nft.Drop})))
	} else {
		own.Rules = append(own.Rules, p.choose(f, p.kl, localSlots)...)
	}
	return []nft.Chain{anywhere, own}
}

// choose are the rules that take one of k slots from first on. The last rule catches the instant in which a transaction has
// changed one map and not yet the other: slot 0 is always taken.
func (p pick) choose(f nft.Family, k int, first uint32) []nft.Rule {
	const key, to = nft.Reg(8), nft.Reg(18)
	addr := nft.DAddr
	if p.kind == nodePort {
		addr = nft.AnyAddr
	}
	client := f.Fields(key, nft.SAddr, addr, nft.Proto, nft.DPort)
	slot := f.FieldsRandom(key, uint32(k), first, addr, nft.Proto, nft.DPort, nft.Random)
	slot0 := f.FieldsRandom(key, 0, first, addr, nft.Proto, nft.DPort, nft.FirstNum)
	endpoint := nft.Map(key, endpointsMap.Name, to)
	if p.sticky == 0 {
		return []nft.Rule{nft.NewRule(slot, endpoint, f.DNAT(to)), nft.NewRule(slot0, endpoint, f.DNAT(to))}
	}
	remember := nft.Remember(key, affinityMap.Name, to, p.sticky)
	return []nft.Rule{
		nft.NewRule(client, nft.Map(key, affinityMap.Name, to), remember, f.DNAT(to)),
		nft.NewRule(slot, endpoint, client, remember, f.DNAT(to)),
		nft.NewRule(slot, endpoint, f.DNAT(to)), // the affinity map is full
		nft.NewRule(slot0, endpoint, f.DNAT(to)),
	}
}

// item is one element of one set.
type item struct {
	set string
	el  nft.Element
}

// key is the key of a frontend in services and refused, and the beginning of its keys elsewhere.
func (fe frontend) key() nft.Key { return nft.Key{}.Addr(fe.addr).L4(fe.proto).Port(fe.port) }

// items are the elements that make one frontend of a port work, and the choice they go to (zero if there is none).
func (p *port) items(fr front) ([]item, pick) {
	key := string(fr.key())
	refuse := func(v nft.Verdict) ([]item, pick) {
		return []item{{refusedMap.Name, nft.Element{Key: key, Verdict: v}}}, pick{}
	}
	choice := pick{kind: fr.kind, k: len(p.cluster), sticky: p.affinity, guarded: len(fr.sources) > 0}
	slots, onNode := p.cluster, []netip.AddrPort(nil)
	switch {
	case len(p.cluster) == 0:
		return refuse(nft.Verdict{Kind: nft.Goto, Chain: rejectChain})
	case fr.kind == internal && p.internalLocal:
		if len(p.local) == 0 {
			return refuse(nft.Verdict{Kind: nft.Drop})
		}
		slots, choice.k = p.local, len(p.local)
	case fr.kind != internal && p.externalLocal:
		onNode, choice.policy, choice.kl = p.local, true, len(p.local)
	}
	out := make([]item, 0, 1+len(slots)+len(onNode)+len(fr.sources))
	out = append(out, item{servicesMap.Name, nft.Element{Key: key, Verdict: nft.Verdict{Kind: nft.Goto, Chain: choice.name()}}})
	slot := func(n int, to netip.AddrPort) {
		out = append(out, item{endpointsMap.Name, nft.Element{
			Key: string(fr.key().Number(uint32(n))), Val: string(nft.Key{}.Addr(to.Addr()).Port(to.Port()))}})
	}
	for i, to := range slots {
		slot(i, to)
	}
	for i, to := range onNode {
		slot(localSlots+i, to)
	}
	for _, src := range fr.sources {
		if familyOf(src.Addr()) == p.family {
			out = append(out, item{allowedSet.Name, nft.Element{
				Key: string(fr.key().Addr(src.Addr())), KeyEnd: string(fr.key().Addr(lastOf(src)))}})
		}
	}
	return out, choice
}

// lastOf is the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for i := p.Bits(); i < len(raw)*8; i++ {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
