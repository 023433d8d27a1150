package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"proa.dev/client"
	"proa.dev/object"
)

// How the IPAddresses that the server makes are marked.
const (
	addressFamily    = "ipaddress.kubernetes.io/ip-family"
	addressManagedBy = "ipaddress.kubernetes.io/managed-by"
	addressManager   = "ipallocator.k8s.io"
)

// ledger keeps one IPAddress for every address that a service has, and none for others (KEP-1880). An IPAddress that somebody else made
// keeps its address from services.
type ledger struct {
	start *Start
	wake  chan struct{}

	mu    sync.Mutex // guards dirty
	dirty map[netip.Addr]bool
}

func newLedger(s *Start) *ledger {
	return &ledger{start: s, wake: make(chan struct{}, 1), dirty: map[netip.Addr]bool{}}
}

// mark has some addresses looked at: by what follows the services, once it knows of a change.
func (l *ledger) mark(ips ...netip.Addr) {
	l.mu.Lock()
	for _, ip := range ips {
		l.dirty[ip] = true
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // awake already
	}
}

// keepAddresses runs until ctx ends.
func (s *Start) keepAddresses(ctx context.Context) error {
	if len(s.addresses.ranges) == 0 || !carries(s.view, object.ResourceOf[core.Service]()) || !carries(s.view, object.ResourceOf[networking.IPAddress]()) {
		<-ctx.Done()
		return ctx.Err()
	}
	l := s.addresses.ledger
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return client.Watch(ctx, s.view, func(_ client.EventType, now, _ *networking.IPAddress) {
			if now == nil {
				return
			}
			if ip, err := netip.ParseAddr(now.Name); err == nil {
				l.mark(ip)
			}
		})
	})
	g.Go(func() error { return l.work(ctx) })
	return g.Wait()
}

// work writes what is due, once the services are known.
func (l *ledger) work(ctx context.Context) error {
	select {
	case <-l.start.addresses.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
		due := l.dirty
		l.dirty = map[netip.Addr]bool{}
		l.mu.Unlock()
		for ip := range due {
			if err := l.settle(ctx, ip); err != nil && ctx.Err() == nil {
				l.start.deps.Log.Warn("an IPAddress is not as it should be", "address", ip, "err", err)
			}
		}
	}
}

// settle makes the IPAddress of one address what the services say. Safe to repeat.
func (l *ledger) settle(ctx context.Context, ip netip.Addr) error {
	s := l.start
	key := object.Key{Name: ip.String()}
	have, exists := client.Lookup[networking.IPAddress](s.view, key)
	s.addresses.hold(ip, have)
	owner, used, flying := s.addresses.user(ip)
	c := s.deps.Self()
	switch {
	case flying: // its write will tell
		return nil
	case used && !exists:
		family := string(familyOf(ip))
		_, err := client.Create[networking.IPAddress](ctx, c, &networking.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: key.Name, Labels: map[string]string{addressFamily: family, addressManagedBy: addressManager}},
			Spec: networking.IPAddressSpec{ParentRef: &networking.ParentReference{
				Resource: "services", Namespace: owner.Namespace, Name: owner.Name}},
		})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	case !exists || have.Labels[addressManagedBy] != addressManager || have.DeletionTimestamp != nil:
		return nil
	case used && parentOf(have) == owner:
		return nil
	}
	// It is of a service that has gone, or has been given to another since: that one gets its own when this is gone.
	if err := client.Delete[networking.IPAddress](ctx, c, key, have.UID); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

func parentOf(a *networking.IPAddress) object.Key {
	if p := a.Spec.ParentRef; p != nil && p.Group == "" && p.Resource == "services" {
		return object.Key{Namespace: p.Namespace, Name: p.Name}
	}
	return object.Key{}
}

// hold takes note of who has an address by an IPAddress that the server did not make; nil: nobody.
func (a *addresses) hold(ip netip.Addr, by *networking.IPAddress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, ip)
	if by != nil && by.Labels[addressManagedBy] != addressManager {
		a.held[ip] = parentOf(by)
	}
}

// user is the service that has an address. flying says that a write is under way that may have been given it.
func (a *addresses) user(ip netip.Addr) (key object.Key, used, flying bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, used = a.ips[ip]
	_, flying = a.flight[ip]
	return key, used, flying && !used
}

// defaultRange is the ServiceCIDR of the configuration.
const defaultRange = "kubernetes"

// followRanges keeps the further ranges of which services get addresses in step with the ServiceCIDRs that are ready.
func (s *Start) followRanges(ctx context.Context) error {
	if !carries(s.view, object.ResourceOf[networking.ServiceCIDR]()) {
		<-ctx.Done()
		return ctx.Err()
	}
	return client.Watch(ctx, s.view, func(t client.EventType, now, _ *networking.ServiceCIDR) {
		if now == nil || now.Name == defaultRange {
			return
		}
		s.addresses.mu.Lock()
		defer s.addresses.mu.Unlock()
		delete(s.addresses.more, now.Name)
		if t == client.Deleted || now.DeletionTimestamp != nil || !rangeReady(now) {
			return
		}
		for _, text := range now.Spec.CIDRs {
			if r, err := netip.ParsePrefix(text); err == nil {
				s.addresses.more[now.Name] = append(s.addresses.more[now.Name], r.Masked())
			}
		}
	})
}

func rangeReady(c *networking.ServiceCIDR) bool {
	for _, cond := range c.Status.Conditions {
		if cond.Type == networking.ServiceCIDRConditionReady {
			return cond.Status == metav1.ConditionTrue
		}
	}
	return false
}

// serviceCIDR makes the ServiceCIDR of the configured ranges.
func (s *Start) serviceCIDR(ctx context.Context, c client.Client) error {
	if len(s.addresses.ranges) == 0 || !carries(s.view, object.ResourceOf[networking.ServiceCIDR]()) {
		return nil
	}
	o := &networking.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: defaultRange}}
	for _, r := range s.addresses.ranges {
		o.Spec.CIDRs = append(o.Spec.CIDRs, r.String())
	}
	key := object.KeyOf(o)
	if err := ensure(ctx, c, o); err != nil {
		return err
	}
	have, err := client.Get[networking.ServiceCIDR](ctx, c, key)
	if err != nil || rangeReady(have) {
		return err
	}
	status := map[string]any{"conditions": []any{map[string]any{"type": networking.ServiceCIDRConditionReady, "status": metav1.ConditionTrue,
		"lastTransitionTime": metav1.Now(), "message": "Kubernetes default Service CIDR is ready"}}}
	body, err := json.Marshal(map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": map[string]any{"name": defaultRange}, "status": status})
	if err != nil {
		return err
	}
	target := client.Target{Resource: object.ResourceOf[networking.ServiceCIDR](), Key: key, Sub: "status"}
	_, err = c.Patch(ctx, target, client.Patch{Type: types.ApplyPatchType, Data: body}, metav1.PatchOptions{FieldManager: "kubernetes-service-cidr-controller", Force: ptr.To(true)})
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("say that ServiceCIDR %s is ready: %w", defaultRange, err)
	}
	return nil
}
