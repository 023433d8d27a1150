package servicecidr

import (
	"net/netip"
	"slices"
	"time"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

const finalizer = "networking.k8s.io/service-cidr-finalizer"

// grace is how long after the deletion of a range its finalizer stays at least: addresses that were given meanwhile become known.
const grace = 10 * time.Second

// plan is what there is to do about c, and when to look again. all are all ServiceCIDRs, addresses all IPAddresses.
func plan(c *networking.ServiceCIDR, all []*networking.ServiceCIDR, addresses []netip.Addr, now time.Time) ([]control.Change, control.Again) {
	n := object.Clone(c)
	if c.DeletionTimestamp == nil {
		if !slices.Contains(c.Finalizers, finalizer) {
			n.Finalizers = append(n.Finalizers, finalizer)
			return []control.Change{{Op: control.Update, Object: n}}, control.Done
		}
		return say(n, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"}, now), control.Done
	}
	if !slices.Contains(c.Finalizers, finalizer) {
		return nil, control.Done
	}
	if needed(c, all, addresses) {
		return say(n, metav1.Condition{Status: metav1.ConditionFalse, Reason: networking.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"}, now), control.Done
	}
	if left := c.DeletionTimestamp.Add(grace).Sub(now); left > 0 {
		return nil, control.Again(left)
	}
	n.Finalizers = slices.DeleteFunc(n.Finalizers, func(f string) bool { return f == finalizer })
	return []control.Change{{Op: control.Update, Object: n}}, control.Done
}

// say sets the condition Ready, if it says something new.
func say(n *networking.ServiceCIDR, cond metav1.Condition, now time.Time) []control.Change {
	cond.Type = networking.ServiceCIDRConditionReady
	if old := meta.FindStatusCondition(n.Status.Conditions, cond.Type); old != nil && old.Status == cond.Status {
		return nil
	}
	cond.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&n.Status.Conditions, cond)
	return []control.Change{{Op: control.Status, Object: n}}
}

// needed says whether an address is in c and in no other range that stays.
func needed(c *networking.ServiceCIDR, all []*networking.ServiceCIDR, addresses []netip.Addr) bool {
	var own, others []netip.Prefix
	for _, o := range all {
		switch {
		case o.Name == c.Name:
			own = append(own, prefixes(o)...)
		case o.DeletionTimestamp == nil:
			others = append(others, prefixes(o)...)
		}
	}
	for _, ip := range addresses {
		in := func(p netip.Prefix) bool { return p.Contains(ip) }
		if slices.ContainsFunc(own, in) && !slices.ContainsFunc(others, in) {
			return true
		}
	}
	return false
}

func prefixes(c *networking.ServiceCIDR) (out []netip.Prefix) {
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil { // the API checks it
			out = append(out, p)
		}
	}
	return out
}
