package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }

var (
	verdicts = Set{Name: "verdicts", Key: []Type{Addr, L4, Port}, Verdicts: true}
	targets  = Set{Name: "targets", Key: []Type{Addr, L4, Port, Number}, Data: []Type{Addr, Port}}
	clients  = Set{Name: "clients", Key: []Type{Addr, Port}, Data: []Type{Addr, Port}, Dynamic: true, Size: 16}
	allowed  = Set{Name: "allowed", Key: []Type{Addr, Port}, Ranges: true}
)

// sample uses every sort of set, part and verdict once.
func sample(f Family) *Ruleset {
	a, net := netip.MustParseAddr("192.0.2.1"), netip.MustParsePrefix("192.0.2.0/24")
	if f == IPv6 {
		a, net = netip.MustParseAddr("2001:db8::1"), netip.MustParsePrefix("2001:db8::/33")
	}
	last := a
	for range 9 {
		last = last.Next()
	}
	return &Ruleset{
		Table: Table{f, "proa-test"},
		Sets:  []Set{verdicts, targets, clients, allowed},
		Chains: []Chain{
			{Name: "pick", Rules: []Rule{
				NewRule(f.Fields(8, SAddr, SPort), Map(8, "clients", 18), Remember(8, "clients", 18, time.Minute), f.DNAT(18)),
				NewRule(f.FieldsRandom(8, 3, 5, DAddr, Proto, DPort, Random), Map(8, "targets", 18), f.DNAT(18)),
				NewRule(f.FieldsRandom(8, 0, 5, AnyAddr, Proto, DPort, FirstNum), Map(8, "targets", 18), f.DNAT(18)),
			}},
			{Name: "refuse", Rules: []Rule{NewRule(ResetTCP()), NewRule(f.Reject())}},
			{Name: "nat", Hook: &Hook{"nat", Prerouting, -100}, Rules: []Rule{
				NewRule(f.Within(DAddr, net), Local(DAddr), NotLocal(SAddr), Mark(4)),
				NewRule(f.Fields(8, DAddr, Proto, DPort), Vmap(8, "verdicts")),
			}},
			{Name: "filter", Hook: &Hook{"filter", Forward, 0}, Rules: []Rule{
				NewRule(NewConnection(), FromLink("lo"), f.Outside(SAddr, net), Then(Verdict{Goto, "refuse"})),
				NewRule(NotFromLink("lo"), f.Fields(8, SAddr, DPort), NotIn(8, "allowed"), Then(Verdict{Kind: Drop})),
			}},
			{Name: "post", Hook: &Hook{"nat", Postrouting, 100}, Rules: []Rule{
				NewRule(Marked(4), Unmark(4), Masquerade()),
				NewRule(Redirected(), f.Fields(8, SAddr, DPort), In(8, "allowed"), Masquerade()),
			}},
		},
		Elements: map[string][]Element{
			"verdicts": {
				{Key: string(Key{}.Addr(a).L4(6).Port(80)), Verdict: Verdict{Goto, "pick"}},
				{Key: string(Key{}.Addr(a).L4(17).Port(80)), Verdict: Verdict{Jump, "pick"}},
				{Key: string(Key{}.Addr(a).L4(6).Port(81)), Verdict: Verdict{Kind: Drop}},
				{Key: string(Key{}.Addr(a).L4(6).Port(82)), Verdict: Verdict{Kind: Return}},
			},
			"targets": {{Key: string(Key{}.Addr(a).L4(6).Port(80).Number(7)), Val: string(Key{}.Addr(a).Port(8080))}},
			"allowed": {{Key: string(Key{}.Addr(a).Port(80)), KeyEnd: string(Key{}.Addr(last).Port(80))}},
		},
	}
}

func open(t testing.TB) *Conn {
	t.Helper()
	roottest.Need(t, "writes nftables")
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, f := range []Family{IPv4, IPv6} {
		t.Run(f.String(), func(t *testing.T) {
			c, want := open(t), sample(f)
			sets := []Set{verdicts, targets, allowed}
			have, err := c.Load(want.Table, sets...)
			if err != nil || have.Exists {
				t.Fatalf("before: %+v, %v", have, err)
			}
			for round := range 2 { // the second replaces the table
				ch := Diff(State{}, want)
				if err := c.Do(ch); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			defer c.Delete(want.Table)
			if have, err = c.Load(want.Table, sets...); err != nil {
				t.Fatal(err)
			}
			if ch := Diff(have, want); !ch.Empty() {
				t.Errorf("what was written differs from what is read:\n%s", ch.Text(sets))
			}
			if have.Layout != want.Layout() {
				t.Errorf("layout %q, want %q", have.Layout, want.Layout())
			}
		})
	}
}

func TestDiffChangesWhatDiffers(t *testing.T) {
	c, want := open(t), sample(IPv4)
	if err := c.Do(Diff(State{}, want)); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(want.Table)
	a := netip.MustParseAddr("192.0.2.1")
	want.Chains = append(want.Chains, Chain{Name: "pick.2", Rules: []Rule{NewRule(Then(Verdict{Kind: Drop}))}})
	want.Elements["verdicts"][0].Verdict.Chain = "pick.2"
	want.Elements["targets"] = []Element{{Key: string(Key{}.Addr(a).L4(6).Port(80).Number(8)), Val: string(Key{}.Addr(a).Port(8081))}}
	sets := []Set{verdicts, targets, allowed}
	have, err := c.Load(want.Table, sets...)
	if err != nil {
		t.Fatal(err)
	}
	ch := Diff(have, want)
	text := `ip proa-test: add chain pick.2
	drop
ip proa-test: remove verdicts 192.0.2.1 . tcp . 80 : goto pick
ip proa-test: remove targets 192.0.2.1 . tcp . 80 . 7 : 192.0.2.1 . 8080
ip proa-test: add verdicts 192.0.2.1 . tcp . 80 : goto pick.2
ip proa-test: add targets 192.0.2.1 . tcp . 80 . 8 : 192.0.2.1 . 8081
`
	if diff := cmp.Diff(text, ch.Text(sets)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := c.Do(ch); err != nil {
		t.Fatal(err)
	}
	if have, err = c.Load(want.Table, sets...); err != nil {
		t.Fatal(err)
	}
	if ch := Diff(have, want); !ch.Empty() {
		t.Errorf("after the change there is still something to do:\n%s", ch.Text(sets))
	}
	// A chain that nobody goes to any more is dropped.
	want.Elements["verdicts"][0].Verdict.Chain = "pick"
	want.Chains = want.Chains[:len(want.Chains)-1]
	ch = Diff(have, want)
	if diff := cmp.Diff([]string{"pick.2"}, ch.DropChains); diff != "" {
		t.Errorf("dropped chains: %s", diff)
	}
	if err := c.Do(ch); err != nil {
		t.Fatal(err)
	}
	want.Version = "2"
	if ch := Diff(have, want); !ch.Replace {
		t.Error("another version does not replace the table")
	}
}

func TestFailedTransactionChangesNothing(t *testing.T) {
	c, want := open(t), sample(IPv4)
	if err := c.Do(Diff(State{}, want)); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(want.Table)
	ch := Change{Table: want.Table}
	ch.Take("verdicts", want.Elements["verdicts"][0])
	ch.Put("verdicts", Element{Key: string(Key{}.Addr(netip.MustParseAddr("192.0.2.9")).L4(6).Port(1)), Verdict: Verdict{Goto, "nowhere"}})
	if err := c.Do(ch); err == nil {
		t.Fatal("a verdict to a chain that does not exist was taken")
	}
	have, err := c.Load(want.Table, verdicts, targets, allowed)
	if err != nil {
		t.Fatal(err)
	}
	if ch := Diff(have, want); !ch.Empty() {
		t.Errorf("the failed transaction left:\n%s", ch.Text([]Set{verdicts}))
	}
	if err := c.Do(Change{Table: want.Table, DropChains: []string{"filter"}}); err != nil {
		t.Errorf("the connection is of no use after a failure: %v", err)
	}
}

func TestDeleteAndTables(t *testing.T) {
	c := open(t)
	for range 2 {
		if err := c.Delete(Table{IPv4, "proa-none"}); err != nil {
			t.Errorf("delete a table that is not there: %v", err)
		}
	}
	for _, f := range []Family{IPv4, IPv6} {
		if err := c.Do(Diff(State{}, sample(f))); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Tables("proa-")
	if err != nil || fmt.Sprint(got) != "[ip proa-test ip6 proa-test]" {
		t.Errorf("Tables: %v, %v", got, err)
	}
	for _, tab := range got {
		if err := c.Delete(tab); err != nil {
			t.Error(err)
		}
	}
	if got, err = c.Tables("proa-"); err != nil || len(got) != 0 {
		t.Errorf("after Delete: %v, %v", got, err)
	}
}

func TestManyElementsInOneTransaction(t *testing.T) {
	c, want := open(t), sample(IPv6)
	want.Elements["targets"] = nil
	a := netip.MustParseAddr("2001:db8::1")
	for i := range 40_000 {
		want.Elements["targets"] = append(want.Elements["targets"], Element{
			Key: string(Key{}.Addr(a).L4(6).Port(80).Number(uint32(i))), Val: string(Key{}.Addr(a).Port(8080))})
	}
	if err := c.Do(Diff(State{}, want)); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(want.Table)
	have, err := c.Elements(want.Table, targets)
	if err != nil || len(have) != 40_000 {
		t.Errorf("%d elements, %v", len(have), err)
	}
}

func TestGuardHearsOfDeletedTables(t *testing.T) {
	c := open(t)
	g, err := NewGuard()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard, done := make(chan Table, 16), make(chan error, 1)
	go func() { done <- g.Run(ctx, func(t Table) { heard <- t }) }()
	for _, f := range []Family{IPv4, IPv6} {
		want := sample(f)
		if err := c.Do(Diff(State{}, want)); err != nil {
			t.Fatal(err)
		}
		ch := Change{Table: want.Table} // elements that go are not news
		ch.Take("targets", want.Elements["targets"][0])
		if err := c.Do(ch); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(want.Table); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard:
			if got != want.Table {
				t.Errorf("heard of %v, want %v", got, want.Table)
			}
		case <-time.After(3 * time.Second):
			t.Errorf("nothing heard of %v", want.Table)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if n := len(heard); n != 0 {
		t.Errorf("%d events too many", n)
	}
}

func FuzzParseVerdict(f *testing.F) {
	f.Add([]byte{8, 0, 1, 0, 0xff, 0xff, 0xff, 0xfc, 9, 0, 2, 0, 'p', 'i', 'c', 'k', 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) { parseVerdict(raw) })
}
