package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func ptr[T any](v T) *T { return &v }

func clusterIPService(ns, name string, ips ...string) *core.Service {
	return &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: core.ServiceSpec{
		ClusterIP: ips[0], ClusterIPs: ips, Ports: []core.ServicePort{{Name: "http", Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53}}}}
}

func world() *nettest.View {
	db := clusterIPService("shop", "db", "None")
	external := &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "out"},
		Spec: core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "www.example.test"}}
	alias := &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "alias"},
		Spec: core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "web.shop.svc.cluster.local"}}
	loop := &core.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "loop"},
		Spec: core.ServiceSpec{Type: core.ServiceTypeExternalName, ExternalName: "loop.shop.svc.cluster.local"}}
	slice := &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "db-1", Labels: map[string]string{discovery.LabelServiceName: "db"}},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Name: ptr("redis"), Port: ptr(int32(6379))}},
		Endpoints: []discovery.Endpoint{
			{Addresses: []string{"10.42.0.7"}, Hostname: ptr("db-0")},
			{Addresses: []string{"10.42.0.8"}},
			{Addresses: []string{"10.42.0.9"}, Conditions: discovery.EndpointConditions{Ready: ptr(false)}},
		},
	}
	return nettest.NewView(clusterIPService("shop", "web", "10.43.0.9", "fd43::9"), db, external, alias, loop, slice)
}

// server starts a server on a free port of the loopback.
func server(t testing.TB, v *nettest.View, upstreams ...netip.AddrPort) *Server {
	t.Helper()
	s, err := New(Deps{View: v, Domain: "cluster.local", Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Upstreams: func() []netip.AddrPort { return upstreams }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	<-s.Synced()
	return s
}

func query(t testing.TB, s *Server, network, name, qtype string) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(mdns.Fqdn(name), mdns.StringToType[qtype])
	r, err := send(s, network, m)
	if err != nil {
		t.Fatalf("%s %s: %v", name, qtype, err)
	}
	return r
}

func send(s *Server, network string, m *mdns.Msg) (*mdns.Msg, error) {
	c := mdns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, s.Addrs()[0].String())
	return r, err
}

// brief is an answer in one line: code, then the records of the answer without TTL and class, sorted.
func brief(m *mdns.Msg) string {
	var rrs []string
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		rrs = append(rrs, strings.Join(append([]string{f[0]}, f[3:]...), " "))
	}
	slices.Sort(rrs)
	return strings.Join(append([]string{mdns.RcodeToString[m.Rcode]}, rrs...), "; ")
}

func TestNamesOfTheCluster(t *testing.T) {
	s := server(t, world())
	for _, c := range []struct{ name, qtype, want string }{
		{"web.shop.svc.cluster.local", "A", "NOERROR; web.shop.svc.cluster.local. A 10.43.0.9"},
		{"wEb.sHop.svc.cluster.LOCAL", "A", "NOERROR; wEb.sHop.svc.cluster.LOCAL. A 10.43.0.9"},
		{"web.shop.svc.cluster.local", "AAAA", "NOERROR; web.shop.svc.cluster.local. AAAA fd43::9"},
		{"web.shop.svc.cluster.local", "MX", "NOERROR"},
		{"web.shop.svc.cluster.local", "ANY", "NOERROR; web.shop.svc.cluster.local. A 10.43.0.9; web.shop.svc.cluster.local. AAAA fd43::9; " +
			"web.shop.svc.cluster.local. SRV 0 100 53 web.shop.svc.cluster.local.; web.shop.svc.cluster.local. SRV 0 100 80 web.shop.svc.cluster.local."},
		{"_http._tcp.web.shop.svc.cluster.local", "SRV", "NOERROR; _http._tcp.web.shop.svc.cluster.local. SRV 0 100 80 web.shop.svc.cluster.local."},
		{"_http._udp.web.shop.svc.cluster.local", "SRV", "NXDOMAIN"},
		{"_tcp.web.shop.svc.cluster.local", "SRV", "NOERROR"},
		{"x.web.shop.svc.cluster.local", "A", "NXDOMAIN"},
		{"none.shop.svc.cluster.local", "A", "NXDOMAIN"},
		{"shop.svc.cluster.local", "A", "NOERROR"},
		{"none.svc.cluster.local", "A", "NXDOMAIN"},
		{"svc.cluster.local", "A", "NOERROR"},
		{"www.example.com.cluster.local", "A", "NXDOMAIN"},
		{"db.shop.svc.cluster.local", "A", "NOERROR; db.shop.svc.cluster.local. A 10.42.0.7; db.shop.svc.cluster.local. A 10.42.0.8"},
		{"db.shop.svc.cluster.local", "AAAA", "NOERROR"},
		{"db-0.db.shop.svc.cluster.local", "A", "NOERROR; db-0.db.shop.svc.cluster.local. A 10.42.0.7"},
		{"10-42-0-8.db.shop.svc.cluster.local", "A", "NOERROR; 10-42-0-8.db.shop.svc.cluster.local. A 10.42.0.8"},
		{"10-42-0-9.db.shop.svc.cluster.local", "A", "NXDOMAIN"},
		{"_redis._tcp.db.shop.svc.cluster.local", "SRV", "NOERROR; " +
			"_redis._tcp.db.shop.svc.cluster.local. SRV 0 100 6379 10-42-0-8.db.shop.svc.cluster.local.; " +
			"_redis._tcp.db.shop.svc.cluster.local. SRV 0 100 6379 db-0.db.shop.svc.cluster.local."},
		{"9.0.43.10.in-addr.arpa", "PTR", "NOERROR; 9.0.43.10.in-addr.arpa. PTR web.shop.svc.cluster.local."},
		{"7.0.42.10.in-addr.arpa", "PTR", "NOERROR; 7.0.42.10.in-addr.arpa. PTR db-0.db.shop.svc.cluster.local."},
		{"9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.d.f.ip6.arpa", "PTR",
			"NOERROR; 9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.d.f.ip6.arpa. PTR web.shop.svc.cluster.local."},
		{"10-42-0-5.shop.pod.cluster.local", "A", "NOERROR; 10-42-0-5.shop.pod.cluster.local. A 10.42.0.5"},
		{"fd42--5.shop.pod.cluster.local", "AAAA", "NOERROR; fd42--5.shop.pod.cluster.local. AAAA fd42::5"},
		{"nonsense.shop.pod.cluster.local", "A", "NXDOMAIN"},
		{"alias.shop.svc.cluster.local", "A", "NOERROR; alias.shop.svc.cluster.local. CNAME web.shop.svc.cluster.local.; web.shop.svc.cluster.local. A 10.43.0.9"},
		{"out.shop.svc.cluster.local", "CNAME", "NOERROR; out.shop.svc.cluster.local. CNAME www.example.test."},
		{"dns-version.cluster.local", "TXT", `NOERROR; dns-version.cluster.local. TXT "1.1.0"`},
		{"cluster.local", "NS", "NOERROR; cluster.local. NS ns.dns.cluster.local."},
		{"cluster.local", "SOA", "NOERROR; cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"},
		{"www.example.test", "A", "SERVFAIL"}, // no upstream, at once
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := query(t, s, network, c.name, c.qtype)
			if diff := cmp.Diff(c.want, brief(m)); diff != "" {
				t.Errorf("%s %s %s: -want +got\n%s", network, c.name, c.qtype, diff)
			}
			if m.Rcode != mdns.RcodeServerFailure && !m.Authoritative {
				t.Errorf("%s %s: not authoritative", c.name, c.qtype)
			}
			if len(m.Answer) == 0 && m.Rcode != mdns.RcodeServerFailure && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != mdns.TypeSOA) {
				t.Errorf("%s %s: no SOA with the empty answer", c.name, c.qtype)
			}
		}
	}
	if got := query(t, s, "udp", "_http._tcp.web.shop.svc.cluster.local", "SRV"); len(got.Extra) != 2 {
		t.Errorf("SRV without the addresses of its target: %v", got.Extra)
	}
	if got := query(t, s, "udp", "loop.shop.svc.cluster.local", "A"); len(got.Answer) > maxChase+1 {
		t.Errorf("a loop of aliases has %d records", len(got.Answer))
	}
}

func TestNamesFollowTheView(t *testing.T) {
	v := world()
	s := server(t, v)
	want := func(name, qtype, want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end) && got != want; {
			got = brief(query(t, s, "udp", name, qtype))
		}
		if got != want {
			t.Errorf("%s %s: got %s, want %s", name, qtype, got, want)
		}
	}
	v.Put(clusterIPService("shop", "web", "10.43.0.77"))
	want("web.shop.svc.cluster.local", "A", "NOERROR; web.shop.svc.cluster.local. A 10.43.0.77")
	want("9.0.43.10.in-addr.arpa", "PTR", "SERVFAIL")
	want("77.0.43.10.in-addr.arpa", "PTR", "NOERROR; 77.0.43.10.in-addr.arpa. PTR web.shop.svc.cluster.local.")
	db := clusterIPService("shop", "db", "None")
	db.Spec.PublishNotReadyAddresses = true
	v.Put(db)
	want("10-42-0-9.db.shop.svc.cluster.local", "A", "NOERROR; 10-42-0-9.db.shop.svc.cluster.local. A 10.42.0.9")
	v.Take(&discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1"}})
	want("db.shop.svc.cluster.local", "A", "NXDOMAIN")
	for _, name := range []string{"web", "db", "out", "alias", "loop"} {
		v.Take(clusterIPService("shop", name, "None"))
	}
	want("shop.svc.cluster.local", "A", "NXDOMAIN")
	x := s.zone.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.services) + len(x.namespaces) + len(x.reverse) + len(x.slices) + len(x.home) + len(x.objects); n != 0 {
		t.Errorf("%d entries are left in the index", n)
	}
}

// upstream is a resolver that answers with fn and counts the queries.
func upstream(t *testing.T, fn mdns.HandlerFunc) (netip.AddrPort, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, r *mdns.Msg) { n.Add(1); fn(w, r) })
	for _, srv := range []*mdns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go srv.ActivateAndServe()
		<-started
		t.Cleanup(func() { srv.Shutdown() })
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String()), &n
}

func say(records ...string) mdns.HandlerFunc {
	return func(w mdns.ResponseWriter, r *mdns.Msg) {
		m := new(mdns.Msg).SetReply(r)
		for _, rec := range records {
			rr, _ := mdns.NewRR(rec)
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m)
	}
}

func TestForward(t *testing.T) {
	up, asked := upstream(t, say("www.example.test. 300 IN A 192.0.2.1"))
	s := server(t, world(), up)
	for range 3 {
		got := brief(query(t, s, "udp", "WWW.example.test", "A"))
		if want := "NOERROR; WWW.example.test. A 192.0.2.1"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d queries upstream, want 1: the rest is for the cache", n)
	}
	got := brief(query(t, s, "udp", "out.shop.svc.cluster.local", "A"))
	if want := "NOERROR; out.shop.svc.cluster.local. CNAME www.example.test.; www.example.test. A 192.0.2.1"; got != want {
		t.Errorf("external name: got %s, want %s", got, want)
	}
}

func TestForwardTriesTheNextUpstream(t *testing.T) {
	broken, brokenAsked := upstream(t, func(w mdns.ResponseWriter, r *mdns.Msg) {
		w.WriteMsg(new(mdns.Msg).SetRcode(r, mdns.RcodeServerFailure))
	})
	good, _ := upstream(t, say("a.example.test. 0 IN A 192.0.2.1"))
	s := server(t, world(), broken, good)
	for range 3 {
		if got := brief(query(t, s, "udp", "a.example.test", "A")); got != "NOERROR; a.example.test. A 192.0.2.1" {
			t.Errorf("got %s", got)
		}
	}
	if n := brokenAsked.Load(); n != 1 {
		t.Errorf("the broken upstream was asked %d times, want once", n)
	}
	dead := netip.MustParseAddrPort("127.0.0.1:1")
	s = server(t, world(), dead)
	if got := brief(query(t, s, "udp", "a.example.test", "A")); got != "SERVFAIL" {
		t.Errorf("dead upstream: got %s", got)
	}
}

func TestForwardLoopEnds(t *testing.T) {
	var self atomic.Pointer[netip.AddrPort]
	// An upstream that sends every query back to us.
	up, asked := upstream(t, func(w mdns.ResponseWriter, r *mdns.Msg) {
		c := mdns.Client{Timeout: 5 * time.Second}
		m, _, err := c.Exchange(r, self.Load().String())
		if err != nil {
			m = new(mdns.Msg).SetRcode(r, mdns.RcodeServerFailure)
		}
		w.WriteMsg(m)
	})
	s := server(t, world(), up)
	at := s.Addrs()[0]
	self.Store(&at)
	if got := brief(query(t, s, "udp", "a.example.test", "A")); got != "SERVFAIL" {
		t.Errorf("got %s, want SERVFAIL", got)
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("the loop went round %d times", n)
	}
}

func TestTruncation(t *testing.T) {
	v := world()
	var eps []discovery.Endpoint
	for i := range 100 {
		eps = append(eps, discovery.Endpoint{Addresses: []string{fmt.Sprintf("10.42.1.%d", i+1)}})
	}
	v.Put(clusterIPService("shop", "big", "None"))
	v.Put(&discovery.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "big-1",
		Labels: map[string]string{discovery.LabelServiceName: "big"}}, AddressType: discovery.AddressTypeIPv4, Endpoints: eps})
	s := server(t, v)
	plain := query(t, s, "udp", "big.shop.svc.cluster.local", "A")
	if !plain.Truncated || len(plain.Answer) == 0 || len(plain.Answer) > 30 {
		t.Errorf("over UDP: truncated %v, %d records", plain.Truncated, len(plain.Answer))
	}
	m := new(mdns.Msg).SetQuestion("big.shop.svc.cluster.local.", mdns.TypeA)
	m.SetEdns0(4096, false)
	wide, err := send(s, "udp", m)
	if err != nil || !wide.Truncated || len(wide.Answer) <= len(plain.Answer) || wide.IsEdns0() == nil {
		t.Errorf("with EDNS: %v, %v", wide, err)
	}
	if got := query(t, s, "tcp", "big.shop.svc.cluster.local", "A"); len(got.Answer) != 100 || got.Truncated {
		t.Errorf("over TCP: %d records, truncated %v", len(got.Answer), got.Truncated)
	}
}

func TestBadRequests(t *testing.T) {
	s := server(t, world())
	two := new(mdns.Msg).SetQuestion("web.shop.svc.cluster.local.", mdns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	version := new(mdns.Msg).SetQuestion("web.shop.svc.cluster.local.", mdns.TypeA)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	transfer := new(mdns.Msg).SetQuestion("cluster.local.", mdns.TypeAXFR)
	update := new(mdns.Msg).SetUpdate("cluster.local.")
	for _, c := range []struct {
		m    *mdns.Msg
		want int
	}{{two, mdns.RcodeFormatError}, {version, mdns.RcodeBadVers}, {transfer, mdns.RcodeRefused}, {update, mdns.RcodeNotImplemented}} {
		r, err := send(s, "udp", c.m)
		if err != nil || r.Rcode != c.want {
			t.Errorf("%v: got %v, %v, want %s", c.m.Question, r, err, mdns.RcodeToString[c.want])
		}
	}
}

func TestFastAndSlowAgree(t *testing.T) {
	v := world()
	v.Put(clusterIPService("shop", "v4", "10.43.0.12"))
	s := server(t, v)
	for _, c := range []struct {
		name string
		fast bool
	}{
		{"wEb.shop.svc.cluster.local.", true}, {"v4.shop.svc.cluster.local.", true}, {"none.shop.svc.cluster.local.", true},
		{"www.example.com.cluster.local.", true}, {"com.cluster.local.", true}, {"a.b.none.shop.svc.cluster.local.", true},
		{"none.shop.svc.cluster.LOCAL.", false}, {"x.web.shop.svc.cluster.local.", false}, {"shop.svc.cluster.local.", false},
		{"svc.cluster.local.", false}, {"cluster.local.", false}, {"dns-version.cluster.local.", false}, {"ns.dns.cluster.local.", false},
		{"1-2-3-4.shop.pod.cluster.local.", false}, {"db.shop.svc.cluster.local.", false}, {"notcluster.local.", false},
	} {
		for _, edns := range []bool{false, true} {
			for _, qtype := range []uint16{mdns.TypeA, mdns.TypeAAAA} {
				m := new(mdns.Msg).SetQuestion(c.name, qtype)
				if edns {
					m.SetEdns0(4096, false)
				}
				raw, _ := m.Pack()
				got, ok := s.zone.fast(raw, nil)
				want := s.answer(t.Context(), raw, false)
				if ok != c.fast || ok && !bytes.Equal(got, want) {
					t.Errorf("%s, edns %v, %s: fast %v %x, slow %x", c.name, edns, mdns.TypeToString[qtype], ok, got, want)
				}
			}
		}
	}
}

func TestCacheCountsDownAndForgets(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newForwarder(Deps{})
	f.now = func() time.Time { return now }
	m := new(mdns.Msg).SetQuestion("a.test.", mdns.TypeA)
	rr, _ := mdns.NewRR("a.test. 60 IN A 192.0.2.1")
	m.Answer = []mdns.RR{rr}
	key := question{name: "a.test.", qtype: mdns.TypeA}
	f.keep(key, m)
	now = now.Add(20 * time.Second)
	if got := f.fromCache(key); got == nil || got.Answer[0].Header().Ttl != 40 {
		t.Errorf("after 20 s: %v", got)
	}
	now = now.Add(40 * time.Second)
	if got := f.fromCache(key); got != nil {
		t.Errorf("after 60 s: %v", got)
	}
	for i := range maxCached + 10 {
		f.keep(question{name: fmt.Sprint(i), qtype: mdns.TypeA}, m)
	}
	if len(f.cache) != maxCached || f.recent.Len() != maxCached {
		t.Errorf("%d entries, %d in the list, want %d", len(f.cache), f.recent.Len(), maxCached)
	}
}

func TestHostUpstreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	ups := HostUpstreams(path)
	if got := ups(); got != nil {
		t.Errorf("without a file: %v", got)
	}
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# nameserver 1.1.1.1\nnameserver 192.0.2.53\nsearch x\nnameserver fe80::1%eth0\nnameserver\nnameserver nonsense\n")
	if got := fmt.Sprint(ups()); got != "[192.0.2.53:53 [fe80::1%eth0]:53]" {
		t.Errorf("got %s", got)
	}
	write("nameserver 192.0.2.54\n")
	if got := fmt.Sprint(ups()); got != "[192.0.2.54:53]" {
		t.Errorf("after a change: %s", got)
	}
}

func TestAddress(t *testing.T) {
	roottest.Need(t, "sets addresses")
	l, err := Address("lo", netip.MustParseAddr("10.43.0.10"), netip.MustParseAddr("fd43::a"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		if err := l.Set(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Deps{View: world(), Domain: "cluster.local", Listen: []netip.AddrPort{
		netip.MustParseAddrPort("10.43.0.10:53"), netip.MustParseAddrPort("[fd43::a]:53")}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if left, err := l.Leftovers(); err != nil || len(left) != 2 {
		t.Errorf("after Set: %v, %v", left, err)
	}
	for range 2 {
		if err := l.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if left, err := l.Leftovers(); err != nil || len(left) != 0 {
		t.Errorf("after Cleanup: %v, %v", left, err)
	}
}

func FuzzAnswer(f *testing.F) {
	s, err := New(Deps{View: world(), Domain: "cluster.local"})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-done })
	<-s.Synced()
	for _, q := range []string{"web.shop.svc.cluster.local.", "_http._tcp.web.shop.svc.cluster.local.", "9.0.43.10.in-addr.arpa.", "loop.shop.svc.cluster.local.", "www.example.com.cluster.local.", "v4.x.svc.cluster.local."} {
		for _, qtype := range []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypeANY, mdns.TypePTR} {
			m := new(mdns.Msg).SetQuestion(q, qtype)
			m.SetEdns0(1232, true)
			raw, _ := m.Pack()
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		slow := s.answer(ctx, packet, false)
		if len(slow) > maxUDP {
			t.Errorf("%d bytes over UDP", len(slow))
		}
		if slow != nil && new(mdns.Msg).Unpack(slow) != nil {
			t.Errorf("answer %x cannot be read", slow)
		}
		fast, ok := s.zone.fast(packet, nil)
		if ok && !bytes.Equal(fast, slow) {
			t.Errorf("fast %x, slow %x", fast, slow)
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.53\nnameserver fe80::1%eth0\noptions edns0\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, a := range parseResolvConf(raw) {
			if !a.IsValid() {
				t.Errorf("%v out of %q", a, raw)
			}
		}
	})
}

// BenchmarkQueries is client and server on one machine, each query a packet there and one back, from 16 clients.
func BenchmarkQueries(b *testing.B) {
	for _, name := range []string{"web.shop.svc.cluster.local.", "none.shop.svc.cluster.local.", "db.shop.svc.cluster.local."} {
		b.Run(name, func(b *testing.B) {
			s := server(b, world())
			m := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
			raw, err := m.Pack()
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(8)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, err := net.Dial("udp", s.Addrs()[0].String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				buf := make([]byte, 1500)
				for pb.Next() {
					if _, err := c.Write(raw); err != nil {
						b.Error(err)
						return
					}
					if _, err := c.Read(buf); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
		})
	}
}

func BenchmarkFast(b *testing.B) {
	s := server(b, world())
	m := new(mdns.Msg).SetQuestion("web.shop.svc.cluster.local.", mdns.TypeA)
	raw, _ := m.Pack()
	out := make([]byte, 0, maxUDP)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.zone.fast(raw, out[:0]); !ok {
			b.Fatal("not fast")
		}
	}
}
