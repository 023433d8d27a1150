package podcidr

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestAssign(t *testing.T) {
	for _, tt := range []struct{ cluster, taken, want []netip.Prefix }{
		{prefixes("10.42.0.0/16"), nil, prefixes("10.42.1.0/24")},
		{prefixes("10.42.0.0/16"), prefixes("10.42.1.0/24", "10.42.3.0/24"), prefixes("10.42.2.0/24")},
		{prefixes("10.42.0.0/16", "fd42::/56"), prefixes("fd42::100/120"), prefixes("10.42.2.0/24", "fd42::200/120")},
		{prefixes("10.42.254.0/23"), nil, prefixes("10.42.255.0/24")},
		{prefixes("10.42.254.0/23"), prefixes("10.42.255.0/24"), nil},
		{prefixes("10.42.7.0/24"), nil, nil},
		{prefixes("255.255.255.0/24"), nil, nil},
	} {
		if got := assign(tt.cluster, tt.taken); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("assign(%v, %v) = %v, want %v", tt.cluster, tt.taken, got, tt.want)
		}
	}
	if p, ok := nth(prefixes("10.0.0.0/8")[0], 258); !ok || p.String() != "10.1.2.0/24" {
		t.Errorf("place 258 of 10.0.0.0/8 is %v, %v", p, ok)
	}
}

func TestEveryNodeKeepsItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.Node{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()}, Config{prefixes("10.42.0.0/16"), "box"})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		node := func(name string) *core.Node { return &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }
		check := func(name, want string) *core.Node {
			t.Helper()
			time.Sleep(time.Second)
			n, ok := client.Lookup[core.Node](a.View(), object.Key{Name: name})
			if !ok || n.Spec.PodCIDR != want || len(n.Spec.PodCIDRs) != 1 || n.Spec.PodCIDRs[0] != want {
				t.Errorf("node %s has %+v, want %s", name, n.Spec, want)
			}
			return n
		}
		a.Put(node("early"))
		early := check("early", "10.42.1.0/24")
		a.Put(node("box"), node("late"))
		check("box", "10.42.0.0/24")
		check("late", "10.42.2.0/24")
		a.Remove(early)
		a.Put(node("next"))
		check("next", "10.42.1.0/24")
		check("late", "10.42.2.0/24")
	})
}
