package dns

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"

	mdns "github.com/miekg/dns"
)

const (
	// ttl of all answers about the cluster, in seconds: short, since addresses change.
	ttl = 5
	// specVersion is the version of the specification that dns-version.<domain> names.
	specVersion = "1.1.0"
	// maxChase bounds a chain of CNAMEs.
	maxChase = 8
	// The rest of the SOA. The serial stands still: nobody transfers the zone.
	soaSerial, soaRefresh, soaRetry, soaExpire = 1, 7200, 1800, 86400
)

// zone answers the names of the cluster's domain.
type zone struct {
	domain string // "cluster.local.", lower case
	wire   []byte // the same as it stands in packets
	index  *index
	turn   atomic.Uint32 // rotates the addresses of headless services
}

// result is an answer in the making.
type result struct {
	found  bool // the name exists
	answer []mdns.RR
	extra  []mdns.RR
	// chase is the name that a CNAME leads to outside the cluster.
	chase string
}

// has says whether a name, in lower case with a dot at the end, belongs to the zone.
func (z *zone) has(name string) bool {
	return name == z.domain || strings.HasSuffix(name, "."+z.domain)
}

// lookup finds what a name of the zone means for one type. owner is the name as it was asked, in its own case.
func (z *zone) lookup(owner, name string, qtype uint16) result {
	labels := mdns.SplitDomainName(strings.TrimSuffix(strings.TrimSuffix(name, z.domain), "."))
	h := mdns.RR_Header{Name: owner, Class: mdns.ClassINET, Ttl: ttl}
	n := len(labels)
	switch {
	case n == 0:
		return z.apex(h, qtype)
	case n == 1 && labels[0] == "dns-version":
		if wants(qtype, mdns.TypeTXT) {
			h.Rrtype = mdns.TypeTXT
			return result{found: true, answer: []mdns.RR{&mdns.TXT{Hdr: h, Txt: []string{specVersion}}}}
		}
		return result{found: true}
	case name == "ns.dns."+z.domain, name == "dns."+z.domain:
		return result{found: true}
	case labels[n-1] == "svc":
		return z.inServices(h, labels[:n-1], qtype, 0)
	case labels[n-1] == "pod":
		return z.inPods(h, labels[:n-1], qtype)
	}
	return result{}
}

func wants(qtype, have uint16) bool { return qtype == have || qtype == mdns.TypeANY }

func (z *zone) apex(h mdns.RR_Header, qtype uint16) result {
	out := result{found: true}
	if wants(qtype, mdns.TypeSOA) {
		out.answer = append(out.answer, z.soa())
	}
	if wants(qtype, mdns.TypeNS) {
		h.Rrtype = mdns.TypeNS
		out.answer = append(out.answer, &mdns.NS{Hdr: h, Ns: "ns.dns." + z.domain})
	}
	return out
}

// soa is the start of authority.
func (z *zone) soa() mdns.RR {
	return &mdns.SOA{Hdr: mdns.RR_Header{Name: z.domain, Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: ttl},
		Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain, Serial: soaSerial, Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: ttl}
}

// inServices answers what lies below svc.<domain>; labels are without "svc".
func (z *zone) inServices(h mdns.RR_Header, labels []string, qtype uint16, depth int) result {
	n := len(labels)
	if n < 2 { // "svc" itself, or a namespace
		return result{found: n == 0 || z.index.namespace(labels[0])}
	}
	e := z.index.service(labels[n-2] + "." + labels[n-1])
	if e == nil {
		return result{}
	}
	base := labels[n-2] + "." + labels[n-1] + ".svc." + z.domain
	switch {
	case e.external != "":
		if n > 2 {
			return result{}
		}
		return z.alias(h, e.external, qtype, depth)
	case n == 2:
		out := z.addresses(h, e.addrs, qtype, true)
		if len(e.addrs) == 0 {
			out.found = false // a headless service without endpoints has no name
		}
		if wants(qtype, mdns.TypeSRV) {
			out.answer = append(out.answer, z.srv(h, base, e, "", "", &out)...)
		}
		return out
	case n == 3 && e.headless && e.hosts[labels[0]] != nil:
		return z.addresses(h, e.hosts[labels[0]], qtype, false)
	case n == 3 && strings.HasPrefix(labels[0], "_"): // _tcp.web.shop: exists if a port is below it
		return result{found: hasPort(e, "", labels[0][1:])}
	case n == 4 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_"):
		out := result{found: hasPort(e, labels[0][1:], labels[1][1:])}
		if wants(qtype, mdns.TypeSRV) {
			out.answer = z.srv(h, base, e, labels[0][1:], labels[1][1:], &out)
		}
		return out
	}
	return result{}
}

func hasPort(e *entry, name, proto string) bool {
	for _, p := range e.ports {
		if p.proto == proto && (name == "" || p.name == name) {
			return true
		}
	}
	return false
}

// addresses are the A or AAAA records of addrs, in turn if rotate is set.
func (z *zone) addresses(h mdns.RR_Header, addrs []netip.Addr, qtype uint16, rotate bool) result {
	out := result{found: true}
	first := 0
	if rotate && len(addrs) > 1 {
		first = int(z.turn.Add(1) % uint32(len(addrs)))
	}
	for i := range addrs {
		if rr := addressRR(h, addrs[(first+i)%len(addrs)], qtype); rr != nil {
			out.answer = append(out.answer, rr)
		}
	}
	return out
}

func addressRR(h mdns.RR_Header, a netip.Addr, qtype uint16) mdns.RR {
	switch {
	case a.Is4() && wants(qtype, mdns.TypeA):
		h.Rrtype = mdns.TypeA
		return &mdns.A{Hdr: h, A: a.AsSlice()}
	case a.Is6() && wants(qtype, mdns.TypeAAAA):
		h.Rrtype = mdns.TypeAAAA
		return &mdns.AAAA{Hdr: h, AAAA: a.AsSlice()}
	}
	return nil
}

// srv are the SRV records of a service: of one port, or of all that have a name. The addresses of their targets go to out.extra.
func (z *zone) srv(h mdns.RR_Header, base string, e *entry, name, proto string, out *result) []mdns.RR {
	var rrs []mdns.RR
	told := map[string]bool{}
	h.Rrtype = mdns.TypeSRV
	for _, p := range e.ports {
		if (name == "" && p.name == "") || (name != "" && (p.name != name || p.proto != proto)) {
			continue
		}
		target, addrs := base, e.addrs
		if p.host != "" {
			target, addrs = p.host+"."+base, e.hosts[p.host]
		}
		rrs = append(rrs, &mdns.SRV{Hdr: h, Priority: 0, Weight: 100, Port: p.number, Target: target})
		if told[target] {
			continue
		}
		told[target] = true
		for _, a := range addrs {
			extra := addressRR(mdns.RR_Header{Name: target, Class: mdns.ClassINET, Ttl: ttl}, a, mdns.TypeANY)
			out.extra = append(out.extra, extra)
		}
	}
	return rrs
}

// alias is an ExternalName service: the CNAME, and what it leads to if that is in the cluster.
func (z *zone) alias(h mdns.RR_Header, target string, qtype uint16, depth int) result {
	h.Rrtype = mdns.TypeCNAME
	out := result{found: true, answer: []mdns.RR{&mdns.CNAME{Hdr: h, Target: target}}}
	if qtype == mdns.TypeCNAME || depth >= maxChase {
		return out
	}
	if !z.has(target) {
		out.chase = target
		return out
	}
	labels := mdns.SplitDomainName(strings.TrimSuffix(strings.TrimSuffix(target, z.domain), "."))
	if n := len(labels); n > 0 && labels[n-1] == "svc" {
		next := z.inServices(mdns.RR_Header{Name: target, Class: mdns.ClassINET, Ttl: ttl}, labels[:n-1], qtype, depth+1)
		out.answer, out.extra, out.chase = append(out.answer, next.answer...), next.extra, next.chase
	}
	return out
}

// inPods answers 10-42-0-5.<namespace>.pod.<domain>; labels are without "pod".
func (z *zone) inPods(h mdns.RR_Header, labels []string, qtype uint16) result {
	switch len(labels) {
	case 0, 1:
		return result{found: true}
	case 2:
		a, ok := podAddr(labels[0])
		if !ok {
			return result{}
		}
		return z.addresses(h, []netip.Addr{a}, qtype, false)
	}
	return result{}
}

// podAddr reads an address whose dots or colons are dashes.
func podAddr(label string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil && a.Is4() {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil && a.Is6() && a.Zone() == ""
}

// reverse answers PTR queries for addresses that have names in the cluster; found is false for all others.
func (z *zone) reverse(owner, name string, qtype uint16) result {
	a, ok := reverseAddr(name)
	if !ok {
		return result{}
	}
	names := z.index.names(a)
	if len(names) == 0 {
		return result{}
	}
	out := result{found: true}
	if wants(qtype, mdns.TypePTR) {
		for _, n := range names {
			service, host := n, ""
			if parts := strings.Split(n, "."); len(parts) == 3 {
				host, service = parts[0]+".", parts[1]+"."+parts[2]
			}
			h := mdns.RR_Header{Name: owner, Rrtype: mdns.TypePTR, Class: mdns.ClassINET, Ttl: ttl}
			out.answer = append(out.answer, &mdns.PTR{Hdr: h, Ptr: host + service + ".svc." + z.domain})
		}
	}
	return out
}

// reverseAddr reads a name below in-addr.arpa or ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	if v4, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(v4, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, err == nil
	}
	v6, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(v6) != 63 {
		return netip.Addr{}, false
	}
	var b strings.Builder
	for i := 62; i >= 0; i -= 2 {
		if i < 62 && v6[i+1] != '.' {
			return netip.Addr{}, false
		}
		b.WriteByte(v6[i])
		if (62-i)%8 == 6 && i > 0 {
			b.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}

// resolve answers one request: from the zone, or by way of the forwarder.
func (s *Server) resolve(ctx context.Context, req *mdns.Msg, overTCP bool) *mdns.Msg {
	m := new(mdns.Msg)
	if req.Response || req.Opcode != mdns.OpcodeQuery || len(req.Question) != 1 {
		code := mdns.RcodeFormatError
		if req.Opcode != mdns.OpcodeQuery {
			code = mdns.RcodeNotImplemented
		}
		return m.SetRcode(req, code)
	}
	q := req.Question[0]
	name := strings.ToLower(q.Name)
	if opt := req.IsEdns0(); opt != nil && opt.Version() != 0 {
		return m.SetRcode(req, mdns.RcodeBadVers)
	}
	if q.Qclass != mdns.ClassINET && q.Qclass != mdns.ClassANY {
		return m.SetRcode(req, mdns.RcodeRefused)
	}
	if q.Qtype == mdns.TypeAXFR || q.Qtype == mdns.TypeIXFR {
		return m.SetRcode(req, mdns.RcodeRefused)
	}
	if !s.zone.has(name) {
		if r := s.zone.reverse(q.Name, name, q.Qtype); r.found {
			return s.reply(req, r)
		}
		return s.forward.resolve(ctx, req, overTCP)
	}
	r := s.zone.lookup(q.Name, name, q.Qtype)
	m = s.reply(req, r)
	if r.chase != "" {
		s.chase(ctx, m, r.chase, q, overTCP)
	}
	return m
}

// reply makes a message of what the zone found.
func (s *Server) reply(req *mdns.Msg, r result) *mdns.Msg {
	m := new(mdns.Msg).SetReply(req)
	m.Authoritative, m.RecursionAvailable = true, true
	m.Answer, m.Extra = r.answer, r.extra
	if !r.found {
		m.Rcode = mdns.RcodeNameError
	}
	if len(m.Answer) == 0 {
		m.Ns = []mdns.RR{s.zone.soa()}
	}
	return m
}

// chase adds what an ExternalName outside the cluster means. If that cannot be found out, the CNAME alone is the answer.
func (s *Server) chase(ctx context.Context, m *mdns.Msg, target string, q mdns.Question, overTCP bool) {
	ask := new(mdns.Msg).SetQuestion(target, q.Qtype)
	ask.RecursionDesired = true
	got := s.forward.resolve(ctx, ask, overTCP)
	m.Answer = append(m.Answer, got.Answer...)
	m.Authoritative = false
}
