package service

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/network/nft"
	"proa.dev/object"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden plays testdata/*.txtar: every file that ends in .yaml replaces the objects of one Service, and the file after it
// says what changes (the first: what the tables hold).
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tab := newTable(ranges{podRanges, serviceRanges})
			var out []txtar.File
			for i, f := range ar.Files {
				if !strings.HasSuffix(f.Name, ".yaml") {
					continue
				}
				out = append(out, f, txtar.File{Name: strings.TrimSuffix(f.Name, ".yaml") + ".nft", Data: play(t, tab, f.Data, i == 0)})
			}
			got := txtar.Format(&txtar.Archive{Comment: ar.Comment, Files: out})
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(ar)), string(got)); diff != "" {
				t.Errorf("run with -update if this is right (-want +got):\n%s", diff)
			}
		})
	}
}

func play(t *testing.T, tab *table, data []byte, whole bool) []byte {
	t.Helper()
	var svc *core.Service
	var eps []*discovery.EndpointSlice
	var key object.Key
	for _, doc := range bytes.Split(data, []byte("---\n")) {
		if bytes.Contains(doc, []byte("kind: EndpointSlice")) {
			s := new(discovery.EndpointSlice)
			if err := yaml.UnmarshalStrict(doc, s); err != nil {
				t.Fatal(err)
			}
			eps = append(eps, s)
			continue
		}
		svc = new(core.Service)
		if err := yaml.UnmarshalStrict(doc, svc); err != nil {
			t.Fatal(err)
		}
		key = object.KeyOf(svc)
	}
	out := newStep()
	var want []port
	if svc.DeletionTimestamp == nil {
		want = model(svc, eps, site{node: "node", own: []netip.Addr{netip.MustParseAddr("10.43.0.10")}, families: families(serviceRanges)})
	}
	tab.set(key, want, out)
	if whole {
		return []byte(tab.ruleset(nft.IPv4).Text() + "\n" + tab.ruleset(nft.IPv6).Text())
	}
	return []byte(out.text())
}

// text shows a step for people.
func (s *step) text() string {
	var b strings.Builder
	for _, ch := range []nft.Change{s.v4, s.v6} {
		b.WriteString(ch.Text([]nft.Set{servicesMap, endpointsMap, refusedMap, allowedSet, hairpinSet}))
	}
	for _, m := range []struct {
		what string
		of   map[frontend][]netip.AddrPort
	}{{"connections", s.stale.flows}, {"clients", s.stale.clients}} {
		var lines []string
		for fe, to := range m.of {
			lines = append(lines, fmt.Sprintf("forget %s of %s/%d port %d but to %v\n", m.what, fe.addr, fe.proto, fe.port, to))
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	for _, c := range s.conflicts {
		fmt.Fprintf(&b, "conflict: %s port %d: %s has it, %s wants it\n", c.front.addr, c.front.port, c.owner, c.loser)
	}
	for _, k := range s.again {
		fmt.Fprintf(&b, "again: %s\n", k)
	}
	return b.String()
}

func TestPlaceKeepsSlots(t *testing.T) {
	at := func(names string) []netip.AddrPort {
		var out []netip.AddrPort
		for _, r := range names {
			out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r)}), 80))
		}
		return out
	}
	for _, c := range [][3]string{
		{"", "abc", "abc"},
		{"abc", "", ""},
		{"cab", "abc", "cab"},
		{"abcd", "acd", "adc"[:1] + "dc"}, // the gap is filled by what lost its slot
		{"abcd", "bcd", "dbc"},
		{"ab", "abcd", "abcd"},
		{"abc", "bcx", "xbc"},
		{"abc", "xyz", "xyz"},
	} {
		if diff := cmp.Diff(fmt.Sprint(at(c[2])), fmt.Sprint(place(at(c[0]), at(c[1])))); diff != "" {
			t.Errorf("place(%q, %q): %s", c[0], c[1], diff)
		}
	}
}
