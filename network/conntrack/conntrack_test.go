package conntrack

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
	"proa.dev/network/nft"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

func TestForget(t *testing.T) {
	roottest.Need(t, "reads tracked connections")
	// Tracking starts with the first rule that needs it.
	conn, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	table := nft.Table{Family: nft.IPv4, Name: "test"}
	err = conn.Do(nft.Change{Table: table, Replace: true, Chains: []nft.Chain{{Name: "track",
		Hook: &nft.Hook{Type: "filter", Point: nft.Output}, Rules: []nft.Rule{nft.NewRule(nft.NewConnection(), nft.Mark(0))}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Delete(table)
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	want := netip.MustParseAddrPort(server.LocalAddr().String())
	tab, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	for round, count := range []int{1, 0} {
		n := 0
		err := tab.Forget(false, func(f Flow) bool {
			if f.Proto == 17 && f.To == want && f.From == want {
				n++
				return true
			}
			return false
		})
		if err != nil || n != count {
			t.Errorf("round %d: %d flows, %v, want %d", round, n, err, count)
		}
	}
}
