package route

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func config(pods, services string) Config {
	return Config{Pods: []netip.Prefix{netip.MustParsePrefix(pods)}, Services: []netip.Prefix{netip.MustParsePrefix(services)},
		PodsKey: "podCIDRs", ServicesKey: "serviceCIDRs", OwnLinks: []string{"proa0"}}
}

func TestSetIsRepeatableAndCleanupRemovesAll(t *testing.T) {
	roottest.Need(t, "sets routes")
	for _, cfg := range []Config{config("10.42.0.0/16", "10.43.0.0/16"), config("fd42::/56", "fd43::/112")} {
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for range 2 {
			if err := r.Set(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		left, err := r.Leftovers()
		if err != nil || len(left) != 2 {
			t.Errorf("after Set: %v, %v, want two routes", left, err)
		}
		if err := r.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
		if left, err = r.Leftovers(); err != nil || len(left) != 0 {
			t.Errorf("after Cleanup: %v, %v", left, err)
		}
	}
}

func TestOverlapNamesRouteAndKey(t *testing.T) {
	roottest.Need(t, "makes links")
	other := nettest.New(t)
	nettest.Join(t, nil, "lan0", "10.43.7.1/24", other, "lan0", "10.43.7.2/24")
	r, err := New(config("10.42.0.0/16", "10.43.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.Set(t.Context())
	var o *OverlapError
	if !errors.As(err, &o) || o.Key != "serviceCIDRs" || o.Link != "lan0" || o.Route.String() != "10.43.7.0/24" {
		t.Errorf("got %v, want an overlap of serviceCIDRs with 10.43.7.0/24 by lan0", err)
	}
	if left, _ := r.Leftovers(); len(left) != 0 {
		t.Errorf("routes were set in spite of the overlap: %v", left)
	}
}

// TestPodsOfOthers starts again where another network plugin has connected pods meanwhile.
func TestPodsOfOthers(t *testing.T) {
	roottest.Need(t, "makes links")
	other := nettest.New(t)
	cfg := config("10.42.0.0/16", "10.43.0.0/16")
	set := func() error {
		t.Helper()
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Set(t.Context())
	}
	cfg.Others = true
	if err := set(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
	})
	nettest.Join(t, nil, "veth1", "10.42.0.1/24", other, "lan0", "10.42.0.2/24")
	if err := set(); err != nil {
		t.Error(err)
	}
	cfg.Others = false
	var o *OverlapError
	if err := set(); !errors.As(err, &o) || o.Link != "veth1" {
		t.Errorf("pods of others where there are none: %v", err)
	}
	cfg.Others = true
	if err := Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := set(); !errors.As(err, &o) || o.Link != "veth1" {
		t.Errorf("a route that was there before: %v", err)
	}
}

func TestRoutesThatLeadNowhereAreNoOverlap(t *testing.T) {
	roottest.Need(t, "sets routes")
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	theirs := unreachable(netip.MustParsePrefix("10.42.0.0/16"))
	theirs.Protocol, theirs.Priority = unix.RTPROT_STATIC, 4000
	if err := nl.RouteAdd(theirs); err != nil {
		t.Fatal(err)
	}
	r, err := New(config("10.42.0.0/16", "10.43.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(r.Set(t.Context()), r.Cleanup(t.Context())); err != nil {
		t.Error(err)
	}
	if err := nl.RouteDel(theirs); err != nil {
		t.Errorf("the host's own route after Cleanup: %v", err)
	}
}

func TestRangesMustNotOverlapEachOther(t *testing.T) {
	_, err := New(config("10.42.0.0/15", "10.43.0.0/16"))
	if err == nil || !strings.Contains(err.Error(), "podCIDRs") {
		t.Errorf("got %v, want an error that names podCIDRs", err)
	}
}
