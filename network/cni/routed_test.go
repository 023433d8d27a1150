package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
	"proa.dev/network/nft"
)

// TestMain runs the tests, or is the CNI plugin that they call: see external_test.go.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		os.Exit(plugin(os.Stdin, os.Stdout))
	}
	os.Exit(nettest.Main(m))
}

// node makes the built-in plugin in the namespace of the tests and proves at the end that Cleanup leaves nothing.
func node(t testing.TB, cidrs ...string) *Plugin {
	t.Helper()
	roottest.Need(t, "makes links and namespaces")
	cfg := Config{Bridge: "proatest0", StateDir: t.TempDir() + "/net", MTU: 1400,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")}}
	for _, c := range cidrs {
		cfg.PodCIDRs = append(cfg.PodCIDRs, netip.MustParsePrefix(c))
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Cleanup(context.Background()); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if left, err := p.Leftovers(); err != nil || len(left) > 0 {
			t.Errorf("after Cleanup: %v, %v", left, err)
		}
		p.Close()
	})
	return p
}

type pod struct {
	Pod
	*nettest.NS
	addrs []netip.Addr
}

func attach(t testing.TB, p *Plugin, id string, ports ...Port) *pod {
	t.Helper()
	ns := nettest.New(t)
	out := &pod{Pod: Pod{ID: id, Namespace: "default", Name: id, NetNS: ns.Path(), Ports: ports}, NS: ns}
	var err error
	if out.addrs, err = p.Attach(t.Context(), out.Pod); err != nil {
		t.Fatal(err)
	}
	return out
}

// serve answers every TCP connection to port with the pod's name and the client's address.
func (p *pod) serve(t testing.TB, port uint16) {
	l := p.Listen(t, fmt.Sprintf(":%d", port))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s to %s", p.Name, host)
			c.Close()
		}
	}()
}

func (p *pod) at(i int, port uint16) string { return netip.AddrPortFrom(p.addrs[i], port).String() }

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func from(ns *nettest.NS) dialer {
	if ns == nil {
		return new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		return ns.Dial(ctx, network, addr, netip.Addr{})
	}
}

func ask(t testing.TB, d dialer, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c, err := d(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	raw, err := io.ReadAll(c)
	return string(raw), err
}

func wantAnswer(t testing.TB, d dialer, addr, want string) {
	t.Helper()
	got, err := ask(t, d, addr)
	if err != nil || got != want {
		t.Errorf("asked %s: got %q, %v, want %q", addr, got, err, want)
	}
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	p := node(t, "10.42.7.0/24", "fd42:0:0:7::/64")
	a, b := attach(t, p, "a"), attach(t, p, "b")
	if got := fmt.Sprint(a.addrs, b.addrs); got != "[10.42.7.2 fd42:0:0:7::2] [10.42.7.3 fd42:0:0:7::3]" {
		t.Errorf("addresses %s", got)
	}
	a.serve(t, 80)
	for i := range a.addrs {
		wantAnswer(t, from(b.NS), a.at(i, 80), "a to "+b.addrs[i].String())
		wantAnswer(t, from(nil), a.at(i, 80), "a to "+gateway(netip.PrefixFrom(a.addrs[i], a.addrs[i].BitLen()-8)).String())
	}
	again, err := p.Attach(t.Context(), a.Pod)
	if err != nil || !cmp.Equal(again, a.addrs, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })) {
		t.Errorf("second Attach: %v, %v, want %v", again, err, a.addrs)
	}
	wantAnswer(t, from(b.NS), a.at(0, 80), "a to "+b.addrs[0].String())
	if err := p.Check(t.Context(), a.Pod); err != nil {
		t.Error(err)
	}
}

func TestDetachGivesTheAddressBackAndRemovesTheLink(t *testing.T) {
	p := node(t, "10.42.7.0/29") // five pods
	var pods []*pod
	for i := range 5 {
		pods = append(pods, attach(t, p, fmt.Sprint(i)))
	}
	ns := nettest.New(t)
	extra := Pod{ID: "extra", Name: "extra", NetNS: ns.Path()}
	if _, err := p.Attach(t.Context(), extra); err == nil || !strings.Contains(err.Error(), "no free address") {
		t.Errorf("attach to a full range: %v", err)
	}
	for range 2 { // the second is harmless
		if err := p.Detach(t.Context(), pods[2].Pod); err != nil {
			t.Fatal(err)
		}
	}
	got, err := p.Attach(t.Context(), extra)
	if err != nil || got[0] != pods[2].addrs[0] {
		t.Errorf("after Detach: %v, %v, want %v", got, err, pods[2].addrs[0])
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context(), pods[2].Pod); err == nil {
		t.Error("Check finds a detached pod in order")
	}
	links, err := p.form.(*routed).podLinks()
	if err != nil || len(links) != 5 {
		t.Errorf("links %v, %v, want 5", links, err)
	}
}

func TestRestartAdoptsTheLivingAndReconcileRemovesTheDead(t *testing.T) {
	p := node(t, "10.42.7.0/24")
	port := Port{HostPort: 8080, ContainerPort: 80}
	live := attach(t, p, "live", port)
	dead := attach(t, p, "dead", Port{HostPort: 8081, ContainerPort: 80})
	live.serve(t, 80)
	dead.serve(t, 80)
	cfg := p.form.(*routed).cfg

	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Reconcile(t.Context(), []string{"live"}); err != nil {
		t.Fatal(err)
	}
	if err := second.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, from(nil), "127.0.0.1:8080", "live to 10.42.7.1")
	if got, err := ask(t, from(nil), "127.0.0.1:8081"); err == nil {
		t.Errorf("the dead pod's host port answers %q", got)
	}
	left, err := second.Leftovers()
	want := []string{"veth " + LinkName("live"), "bridge proatest0", "lease of 10.42.7.2 to live", "nftables table ip proa-pods"}
	if diff := cmp.Diff(want, left); err != nil || diff != "" {
		t.Errorf("after Reconcile: %v\n%s", err, diff)
	}
	if err := second.Detach(t.Context(), live.Pod); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, from(nil), "127.0.0.1:8080"); err == nil {
		t.Errorf("the detached pod's host port answers %q", got)
	}
}

func TestLeavingTheClusterIsMasqueraded(t *testing.T) {
	p := node(t, "10.42.7.0/24")
	a := attach(t, p, "a")
	lan := &pod{Pod: Pod{Name: "lan"}, NS: nettest.New(t)}
	nettest.Join(t, nil, "lan0", "192.168.77.1/24", lan.NS, "lan0", "192.168.77.2/24")
	lan.serve(t, 80)
	wantAnswer(t, from(a.NS), "192.168.77.2:80", "lan to 192.168.77.1")
	// And from outside a pod is reached with the client's own address, where the network routes so.
	lan.Route(t, "10.42.7.0/24", "192.168.77.1")
	a.serve(t, 80)
	wantAnswer(t, from(lan.NS), a.at(0, 80), "a to 192.168.77.2")
}

func TestHostPorts(t *testing.T) {
	p := node(t, "10.42.7.0/24")
	lan := nettest.New(t)
	nettest.Join(t, nil, "lan0", "192.168.77.1/24", lan, "lan0", "192.168.77.2/24")
	all := attach(t, p, "all", Port{HostPort: 8080, ContainerPort: 80})
	one := attach(t, p, "one", Port{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 9090, ContainerPort: 80})
	two := attach(t, p, "two", Port{HostIP: netip.MustParseAddr("192.168.77.1"), HostPort: 9090, ContainerPort: 80})
	for _, x := range []*pod{all, one, two} {
		x.serve(t, 80)
	}
	wantAnswer(t, from(lan), "192.168.77.1:8080", "all to 192.168.77.2")
	wantAnswer(t, from(nil), "192.168.77.1:8080", "all to 192.168.77.1")
	wantAnswer(t, from(nil), "127.0.0.1:8080", "all to 10.42.7.1")
	wantAnswer(t, from(one.NS), "192.168.77.1:8080", "all to "+one.addrs[0].String())
	wantAnswer(t, from(all.NS), "192.168.77.1:8080", "all to 10.42.7.1") // itself
	wantAnswer(t, from(nil), "127.0.0.1:9090", "one to 10.42.7.1")
	wantAnswer(t, from(lan), "192.168.77.1:9090", "two to 192.168.77.2")
	// Somebody flushes all rules of the host; the next pod brings them back.
	if err := p.form.(*routed).ports.nft.Delete(nft.Table{Family: nft.IPv4, Name: tableName}); err != nil {
		t.Fatal(err)
	}
	attach(t, p, "next", Port{HostPort: 8888, ContainerPort: 80})
	wantAnswer(t, from(lan), "192.168.77.1:8080", "all to 192.168.77.2")
	taken := Pod{ID: "late", Name: "late", NetNS: nettest.New(t).Path(), Ports: []Port{{HostPort: 8080, ContainerPort: 1}}}
	if _, err := p.Attach(t.Context(), taken); err == nil {
		t.Error("a host port was given to a second pod")
	}
}

func TestRunMakesDeletedTablesAgain(t *testing.T) {
	p := node(t, "10.42.7.0/24", "fd42:0:0:7::/64")
	a := attach(t, p, "a", Port{HostPort: 8080, ContainerPort: 80})
	a.serve(t, 80)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	conn, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tables := func() string {
		t.Helper()
		found, err := conn.Tables(tableName)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found)
	}
	want := tables()
	for range 3 {
		for _, f := range []nft.Family{nft.IPv4, nft.IPv6} {
			if err := conn.Delete(nft.Table{Family: f, Name: tableName}); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for end := time.Now().Add(3 * time.Second); got != want && time.Now().Before(end); got = tables() {
			time.Sleep(time.Millisecond)
		}
		if got != want {
			t.Fatalf("tables %s, want %s", got, want)
		}
	}
	wantAnswer(t, from(nil), "127.0.0.1:8080", "a to 10.42.7.1")
}

func TestUDPHostPortFollowsThePod(t *testing.T) {
	p := node(t, "10.42.7.0/24")
	lan := nettest.New(t)
	nettest.Join(t, nil, "lan0", "192.168.77.1/24", lan, "lan0", "192.168.77.2/24")
	conn, err := lan.Dial(t.Context(), "udp", "192.168.77.1:5353", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("?")) // tracked as a connection to the node itself
	for _, name := range []string{"first", "second"} {
		x := attach(t, p, name, Port{HostPort: 5353, ContainerPort: 53, Protocol: "UDP"})
		u := x.ListenUDP(t, ":53")
		go func() {
			buf := make([]byte, 16)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				u.WriteTo([]byte(name), from)
			}
		}()
		got := ""
		for end := time.Now().Add(3 * time.Second); got != name && time.Now().Before(end); {
			conn.Write([]byte("?"))
			conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			buf := make([]byte, 16)
			n, _ := conn.Read(buf)
			got = string(buf[:n])
		}
		if got != name {
			t.Errorf("the host port answers %q, want %q", got, name)
		}
		if err := p.Detach(t.Context(), x.Pod); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoopbackOfTheNodeIsNotReachableFromPods(t *testing.T) {
	p := node(t, "10.42.7.0/24")
	a := attach(t, p, "a")
	l, err := net.Listen("tcp", "127.0.0.1:7070")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a.Route(t, "127.0.0.2/32", "10.42.7.1") // as root of its namespace it may try
	if got, err := ask(t, from(a.NS), "127.0.0.2:7070"); err == nil {
		t.Errorf("a pod reached the node's loopback: %q", got)
	}
}

func BenchmarkAttachDetach(b *testing.B) {
	p := node(b, "10.42.0.0/16")
	spaces := make([]*nettest.NS, b.N)
	for i := range spaces {
		spaces[i] = nettest.New(b)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		pod := Pod{ID: fmt.Sprint(i), NetNS: spaces[i].Path()}
		if _, err := p.Attach(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		p.Detach(b.Context(), pod)
		p.Flush(b.Context())
		b.StartTimer()
	}
}

// BenchmarkBurst is 30 pods at once, then their end, with the background's work in the time of the end.
func BenchmarkBurst(b *testing.B) {
	const n = 30
	p := node(b, "10.42.0.0/16")
	for round := range b.N {
		b.StopTimer()
		var pods []Pod
		for i := range n {
			pods = append(pods, Pod{ID: fmt.Sprint(round, "-", i), NetNS: nettest.New(b).Path()})
		}
		b.StartTimer()
		begin := time.Now()
		var wg sync.WaitGroup
		for _, pod := range pods {
			wg.Go(func() {
				if _, err := p.Attach(b.Context(), pod); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ms-attach")
		begin = time.Now()
		for _, pod := range pods {
			p.Detach(b.Context(), pod)
		}
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ms-detach")
		p.Flush(b.Context())
		b.ReportMetric(float64(time.Since(begin).Microseconds())/1000, "ms-flush")
	}
}
