package service

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	discovery "k8s.io/api/discovery/v1"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
	"proa.dev/network/nft"
	"proa.dev/object"
)

// many fills a View with n services of k endpoints each.
func many(n, k int) *nettest.View {
	v := nettest.NewView()
	for i := range n {
		name := fmt.Sprintf("svc-%d", i)
		svc := service(name, netip.AddrFrom4([4]byte{10, 43, byte(i / 250), byte(1 + i%250)}).String())
		svc.Spec.Ports = svc.Spec.Ports[:1]
		v.Put(svc)
		v.Put(manySlice(name, i, k))
	}
	return v
}

func manySlice(name string, i, k int) *discovery.EndpointSlice {
	var eps []discovery.Endpoint
	for j := range k {
		n := i*k + j
		eps = append(eps, endpoint(netip.AddrFrom4([4]byte{10, 42, byte(n / 250), byte(1 + n%250)}).String(), "other", true))
	}
	return slice(name, eps...)
}

// BenchmarkFullLoad is from the start of the proxy to the last rule in the kernel: 5,000 services with 2 endpoints each.
func BenchmarkFullLoad(b *testing.B) {
	roottest.Need(b, "writes nftables")
	v := many(5000, 2)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if err := Cleanup(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		stop := start(b, v)
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	Cleanup(b.Context())
}

// BenchmarkAdopt is the start of a proxy whose tables are in the kernel already.
func BenchmarkAdopt(b *testing.B) {
	roottest.Need(b, "writes nftables")
	v := many(5000, 2)
	start(b, v)()
	b.ReportAllocs()
	for b.Loop() {
		start(b, v)()
	}
	Cleanup(b.Context())
}

func start(t testing.TB, v *nettest.View) (stop func()) {
	p, err := New(Deps{View: v, NodeName: "node", PodCIDRs: podRanges, ServiceCIDRs: serviceRanges})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-p.Synced()
	return func() {
		cancel()
		<-done
		p.Close()
	}
}

// BenchmarkOneChange is from the event to the rule in the kernel with 1,000 services: an endpoint comes, an endpoint goes.
func BenchmarkOneChange(b *testing.B) {
	roottest.Need(b, "writes nftables")
	v := many(1000, 2)
	p, err := New(Deps{View: v, NodeName: "node", PodCIDRs: podRanges, ServiceCIDRs: serviceRanges})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	put := func(s *discovery.EndpointSlice) {
		v.Put(s)
		key, _ := serviceOf(s)
		p.mu.Lock()
		p.slices[key] = map[string]*discovery.EndpointSlice{s.Name: s}
		p.mark(key)
		p.mu.Unlock()
	}
	for i := range 1000 {
		put(manySlice(fmt.Sprintf("svc-%d", i), i, 2))
	}
	if err := p.once(b.Context(), true); err != nil {
		b.Fatal(err)
	}
	two, three := manySlice("svc-500", 500, 2), manySlice("svc-500", 500, 3)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		put(object.Clone([]*discovery.EndpointSlice{three, two}[i%2]))
		if err := p.once(b.Context(), false); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.StopTimer()
	st, err := p.nft.Load(nft.Table{Family: nft.IPv4, Name: tableName}, servicesMap, endpointsMap)
	if err != nil || len(st.Elements[servicesMap.Name]) != 1000 {
		b.Errorf("%d services in the kernel, %v", len(st.Elements[servicesMap.Name]), err)
	}
	Cleanup(b.Context())
}
