package standby

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
)

func example() *Table {
	a := netip.MustParseAddr
	return &Table{
		Domain: "cluster.local.", Listen: []netip.AddrPort{netip.MustParseAddrPort("10.43.0.10:53")},
		Upstreams: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
		Names: map[string][]netip.Addr{
			"store.shop.svc.cluster.local.": {a("10.43.1.2"), a("fd00::2")},
			"empty.shop.svc.cluster.local.": {},
		},
		Aliases: map[string]string{"mail.shop.svc.cluster.local.": "mail.example.org."},
	}
}

func same[T comparable](a, b T) bool { return a == b }

func TestTableComesBack(t *testing.T) {
	got, err := Decode(example().Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), got, cmp.Comparer(same[netip.Addr]), cmp.Comparer(same[netip.AddrPort])); diff != "" {
		t.Errorf("after encoding and decoding (-want +got):\n%s", diff)
	}
	if _, err := Decode([]byte("domain a.\nname a. 1.2.3\n")); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
		t.Errorf("a wrong address: %v", err)
	}
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string // rcode and records
	}{
		{"store.shop.svc.cluster.local.", mdns.TypeA, "NOERROR A 10.43.1.2"},
		{"STORE.shop.svc.Cluster.local.", mdns.TypeA, "NOERROR A 10.43.1.2"},
		{"store.shop.svc.cluster.local.", mdns.TypeAAAA, "NOERROR AAAA fd00::2"},
		{"store.shop.svc.cluster.local.", mdns.TypeSRV, "SERVFAIL"},
		{"empty.shop.svc.cluster.local.", mdns.TypeA, "NOERROR"},
		{"shop.svc.cluster.local.", mdns.TypeA, "NOERROR"},
		{"mail.shop.svc.cluster.local.", mdns.TypeA, "NOERROR CNAME mail.example.org."},
		{"nope.shop.svc.cluster.local.", mdns.TypeA, "NXDOMAIN"},
		{"store.shop.svc.cluster.local.example.org.", mdns.TypeA, "forward"},
		{"example.org.", mdns.TypeA, "forward"},
	} {
		q := new(mdns.Msg).SetQuestion(tt.name, tt.qtype)
		in, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		out, forward := example().Answer(in)
		got := "forward"
		if !forward {
			var m mdns.Msg
			if err := m.Unpack(out); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if m.Id != q.Id || !m.Response || len(m.Question) != 1 || m.Question[0] != q.Question[0] {
				t.Errorf("%s: the answer does not fit the question: %v", tt.name, &m)
			}
			got = mdns.RcodeToString[m.Rcode]
			for _, rr := range m.Answer {
				f := strings.Fields(rr.String())
				got += " " + f[3] + " " + f[4]
				if !strings.EqualFold(f[0], tt.name) {
					t.Errorf("%s: a record about %s", tt.name, f[0])
				}
			}
		}
		if got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.name, mdns.TypeToString[tt.qtype], got, tt.want)
		}
	}
}

func TestLongAnswerIsCut(t *testing.T) {
	table := example()
	for range 200 {
		table.Names["big.shop.svc.cluster.local."] = append(table.Names["big.shop.svc.cluster.local."], netip.MustParseAddr("10.42.0.1"))
	}
	in, err := new(mdns.Msg).SetQuestion("big.shop.svc.cluster.local.", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := table.Answer(in)
	var m mdns.Msg
	if err := m.Unpack(out); err != nil {
		t.Fatal(err)
	}
	if !m.Truncated || len(out) > maxUDP || len(m.Answer) < 50 {
		t.Errorf("truncated %v, %d bytes, %d records", m.Truncated, len(out), len(m.Answer))
	}
}

func FuzzAnswer(f *testing.F) {
	q, err := new(mdns.Msg).SetQuestion("store.shop.svc.cluster.local.", mdns.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Add(q[:13])
	table := example()
	f.Fuzz(func(t *testing.T, in []byte) {
		if out, _ := table.Answer(in); out != nil && len(out) < headerLen {
			t.Errorf("an answer of %d bytes", len(out))
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(example().Encode())
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = Decode(data) })
}
