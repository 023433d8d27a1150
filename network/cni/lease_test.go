package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func prefixes(raw ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range raw {
		out = append(out, netip.MustParsePrefix(r))
	}
	return out
}

func mustOpen(t *testing.T, dir string, ranges ...string) *leases {
	t.Helper()
	l, err := openLeases(dir, prefixes(ranges...))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustTake(t *testing.T, l *leases, owner, want string) {
	t.Helper()
	got, err := l.take(owner)
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("lease to %s: %v, %v, want %s", owner, got, err, want)
	}
}

func TestLeasesGoRound(t *testing.T) {
	l := mustOpen(t, t.TempDir(), "10.42.7.0/29", "fd42::/64")
	mustTake(t, l, "a", "[10.42.7.2 fd42::2]")
	mustTake(t, l, "a", "[10.42.7.2 fd42::2]")
	mustTake(t, l, "b", "[10.42.7.3 fd42::3]")
	if _, err := l.release("a"); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"c", "d", "e"} { // a's address rests as long as there are others
		mustTake(t, l, id, fmt.Sprintf("[10.42.7.%d fd42::%d]", 4+i, 4+i))
	}
	mustTake(t, l, "f", "[10.42.7.2 fd42::7]")
	if _, err := l.take("g"); !errors.Is(err, errNoAddress) {
		t.Errorf("a full range: %v", err)
	}
}

func TestLeasesSurviveTheProcess(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, "10.42.7.0/24")
	mustTake(t, l, "a", "[10.42.7.2]")
	mustTake(t, l, "b", "[10.42.7.3]")
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil { // not ours, not an error
		t.Fatal(err)
	}
	l = mustOpen(t, dir, "10.42.7.0/24")
	mustTake(t, l, "b", "[10.42.7.3]")
	mustTake(t, l, "c", "[10.42.7.4]")
	if _, err := l.release("a"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(mustOpen(t, dir, "10.42.7.0/24").all()); got != "[b c]" {
		t.Errorf("owners %s, want [b c]", got)
	}
	// A second family is added to the node: living pods keep what they have and get what they lack when attached again.
	l = mustOpen(t, dir, "10.42.7.0/24", "fd42::/64")
	mustTake(t, l, "b", "[10.42.7.3 fd42::2]")
}

func TestLeasesAreUnique(t *testing.T) {
	l := mustOpen(t, t.TempDir(), "10.42.7.0/25")
	var wg sync.WaitGroup
	var mu sync.Mutex // guards seen
	seen := map[netip.Addr]bool{}
	for i := range 100 {
		wg.Go(func() {
			got, err := l.take(fmt.Sprint(i))
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[got[0]] {
				t.Errorf("lease %v twice, or %v", got, err)
				return
			}
			seen[got[0]] = true
		})
	}
	wg.Wait()
}

func TestRangesAreChecked(t *testing.T) {
	for _, bad := range [][]string{{}, {"10.42.0.0/31"}, {"10.42.0.0/24", "10.43.0.0/24"}, {"fd42::/127"}} {
		if err := checkRanges(Config{Bridge: "proa0", PodCIDRs: prefixes(bad...)}); err == nil {
			t.Errorf("ranges %v were taken", bad)
		}
	}
	if err := checkRanges(Config{Bridge: "a-name-that-is-too-long", PodCIDRs: prefixes("10.42.0.0/24")}); err == nil {
		t.Error("a long bridge name was taken")
	}
}
