package servicecidr

import (
	"net/netip"
	"testing"
	"time"

	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
)

var at = time.Unix(1_700_000_000, 0)

func cidr(name, text string, going bool) *networking.ServiceCIDR {
	c := &networking.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{finalizer}}, Spec: networking.ServiceCIDRSpec{CIDRs: []string{text}}}
	if going {
		c.DeletionTimestamp = &metav1.Time{Time: at}
	}
	return c
}

// summary is what a plan does to one ServiceCIDR.
func summary(changes []control.Change) string {
	if len(changes) == 0 {
		return ""
	}
	c := changes[0].Object.(*networking.ServiceCIDR)
	switch {
	case changes[0].Op == control.Status:
		return "Ready=" + string(c.Status.Conditions[0].Status)
	case len(c.Finalizers) > 0:
		return "finalizer"
	}
	return "free"
}

func TestPlan(t *testing.T) {
	used := []netip.Addr{netip.MustParseAddr("10.1.0.7")}
	fresh := cidr("a", "10.1.0.0/24", false)
	fresh.Finalizers = nil
	ready := cidr("a", "10.1.0.0/24", false)
	ready.Status.Conditions = []metav1.Condition{{Type: networking.ServiceCIDRConditionReady, Status: metav1.ConditionTrue}}
	waiting := cidr("a", "10.1.0.0/24", true)
	waiting.Status.Conditions = []metav1.Condition{{Type: networking.ServiceCIDRConditionReady, Status: metav1.ConditionFalse}}
	for name, c := range map[string]struct {
		is      *networking.ServiceCIDR
		others  []*networking.ServiceCIDR
		after   time.Duration
		want    string
		looksIn control.Again
	}{
		"new":             {is: fresh, want: "finalizer"},
		"guarded":         {is: cidr("a", "10.1.0.0/24", false), want: "Ready=True"},
		"ready":           {is: ready},
		"used":            {is: cidr("a", "10.1.0.0/24", true), after: time.Hour, want: "Ready=False"},
		"still used":      {is: waiting, after: time.Hour},
		"unused":          {is: cidr("a", "10.2.0.0/24", true), after: time.Hour, want: "free"},
		"unused, just so": {is: cidr("a", "10.2.0.0/24", true), after: time.Second, looksIn: control.Again(grace - time.Second)},
		"covered":         {is: cidr("a", "10.1.0.0/24", true), others: []*networking.ServiceCIDR{cidr("b", "10.1.0.0/16", false)}, after: time.Hour, want: "free"},
		"covered by one that goes": {is: cidr("a", "10.1.0.0/24", true), others: []*networking.ServiceCIDR{cidr("b", "10.1.0.0/16", true)},
			after: time.Hour, want: "Ready=False"},
	} {
		t.Run(name, func(t *testing.T) {
			changes, again := plan(c.is, append(c.others, c.is), used, at.Add(c.after))
			if got := summary(changes); got != c.want || again != c.looksIn {
				t.Errorf("got %q and a look in %v, want %q and %v", got, time.Duration(again), c.want, time.Duration(c.looksIn))
			}
		})
	}
}
