package dra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// Claims says whether a pod has claims.
func Claims(pod *core.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

// claimsOf are the claims of a pod, that for its extended resources the last.
func claimsOf(pod *core.Pod) []core.PodResourceClaim {
	out := slices.Clone(pod.Spec.ResourceClaims)
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, core.PodResourceClaim{ResourceClaimName: &s.ResourceClaimName})
	}
	return out
}

// Prepare has the claims of a pod prepared, those that are not yet.
func (m *Manager) Prepare(ctx context.Context, pod *core.Pod) error {
	if !Claims(pod) {
		return nil
	}
	began := time.Now()
	err := m.prepare(ctx, pod)
	m.counts.pod("PrepareResources", began, err)
	if err != nil {
		return fmt.Errorf("prepare dynamic resources: %w", err)
	}
	return nil
}

func (m *Manager) prepare(ctx context.Context, pod *core.Pod) error {
	// First a look that changes nothing: a pod that cannot be prepared leaves nothing to be taken back, by drivers that may never come.
	var claims []*resource.ResourceClaim
	drivers := map[string]*driver{}
	for _, one := range claimsOf(pod) {
		c, err := m.read(ctx, pod, &one)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		claims = append(claims, c)
		for _, r := range c.Status.Allocation.Devices.Results {
			if drivers[r.Driver] == nil {
				if drivers[r.Driver], err = m.driver(r.Driver); err != nil {
					return err
				}
			}
		}
	}
	open, err := m.note(pod, claims)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		if err := m.ask(ctx, drivers[name], open); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range open {
		p.done = true
	}
	if len(open) == 0 {
		return nil
	}
	if err := m.save(); err != nil {
		return fmt.Errorf("checkpoint ResourceClaim state: %w", err)
	}
	return nil
}

// read gets one claim of a pod, which has to be the pod's to use; nil: it needs none.
func (m *Manager) read(ctx context.Context, pod *core.Pod, one *core.PodResourceClaim) (*resource.ResourceClaim, error) {
	name, own, err := resourceclaim.Name(pod, one)
	if err != nil || name == nil {
		return nil, err
	}
	c, err := client.Get[resource.ResourceClaim](ctx, m.Client, object.Key{Namespace: pod.Namespace, Name: *name})
	if err != nil {
		return nil, fmt.Errorf("fetch ResourceClaim %s: %w", *name, err)
	}
	if own {
		if err := resourceclaim.IsForPod(pod, c, false); err != nil {
			return nil, err
		}
	}
	if !resourceclaim.IsReservedForPod(pod, c, false) {
		return nil, fmt.Errorf("pod %s (%s) is not allowed to use ResourceClaim %s (%s)", pod.Name, pod.UID, *name, c.UID)
	}
	if c.Status.Allocation == nil {
		return nil, fmt.Errorf("ResourceClaim %s: %w", c.Name, errors.New("not allocated"))
	}
	return c, nil
}

// note writes down that the pod uses the claims, before any driver is asked, and says which are to be prepared.
func (m *Manager) note(pod *core.Pod, claims []*resource.ResourceClaim) (open []*prepared, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range claims {
		p := m.claims[object.KeyOf(c)]
		switch {
		case p == nil:
			p = &prepared{UID: c.UID, Namespace: c.Namespace, Name: c.Name, Drivers: map[string][]Device{}}
			for _, r := range c.Status.Allocation.Devices.Results {
				p.Drivers[r.Driver] = nil
			}
			m.claims[object.KeyOf(c)] = p
		case p.UID != c.UID:
			return nil, fmt.Errorf("old ResourceClaim with same name %s and different UID %s still exists (previous pod force-deleted?!)", c.Name, p.UID)
		case p.ending:
			return nil, fmt.Errorf("ResourceClaim %s is being unprepared", c.Name)
		}
		if !slices.Contains(p.Pods, pod.UID) {
			p.Pods = append(p.Pods, pod.UID)
		}
		if !p.done {
			open = append(open, p)
		}
	}
	if err := m.save(); err != nil {
		return nil, fmt.Errorf("checkpoint ResourceClaim cache: %w", err)
	}
	return open, nil
}

// ask has one driver prepare its part of the claims.
func (m *Manager) ask(ctx context.Context, d *driver, open []*prepared) error {
	mine := partOf(open, d.name)
	if len(mine) == 0 {
		return nil
	}
	resp, err := d.prepare(ctx, wire(mine))
	if err != nil {
		return fmt.Errorf("NodePrepareResources: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, r := range resp.GetClaims() {
		p := find(mine, uid)
		if p == nil {
			return fmt.Errorf("NodePrepareResources returned result for unknown claim UID %s", uid)
		}
		if r.GetError() != "" {
			return fmt.Errorf("NodePrepareResources failed for ResourceClaim %s: %s", p.Name, r.GetError())
		}
		var devices []Device
		for _, v := range r.GetDevices() {
			devices = append(devices, Device{
				Requests: v.GetRequestNames(), Pool: v.GetPoolName(), Name: v.GetDeviceName(), CDI: v.GetCdiDeviceIds(), Share: (*types.UID)(v.ShareId),
			})
		}
		p.Drivers[d.name] = devices
	}
	if left := len(mine) - len(resp.GetClaims()); left != 0 {
		return fmt.Errorf("NodePrepareResources skipped %d ResourceClaims", left)
	}
	return nil
}

func partOf(list []*prepared, driver string) (out []*prepared) {
	for _, p := range list {
		if _, ok := p.Drivers[driver]; ok {
			out = append(out, p)
		}
	}
	return out
}

func find(list []*prepared, uid string) *prepared {
	if i := slices.IndexFunc(list, func(p *prepared) bool { return string(p.UID) == uid }); i >= 0 {
		return list[i]
	}
	return nil
}

func wire(list []*prepared) (out []*dra.Claim) {
	for _, p := range list {
		out = append(out, &dra.Claim{Namespace: p.Namespace, Uid: string(p.UID), Name: p.Name})
	}
	return out
}

// Release takes a pod off its claims, and has those unprepared that no other pod uses.
func (m *Manager) Release(ctx context.Context, pod types.UID) error {
	if !m.Uses(pod) {
		return nil
	}
	began := time.Now()
	err := m.release(ctx, pod)
	m.counts.pod("UnprepareResources", began, err)
	if err != nil {
		return fmt.Errorf("unprepare dynamic resources: %w", err)
	}
	return nil
}

func (m *Manager) release(ctx context.Context, pod types.UID) error {
	last, shared := m.leave(pod)
	if len(last) == 0 && !shared {
		return nil
	}
	names := map[string]bool{}
	for _, p := range last {
		for name := range p.Drivers {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d, err := m.driver(name)
		if err != nil {
			return err
		}
		mine := partOf(last, name)
		resp, err := d.unprepare(ctx, wire(mine))
		if err != nil {
			return fmt.Errorf("NodeUnprepareResources: %w", err)
		}
		for uid, r := range resp.GetClaims() {
			p := find(mine, uid)
			if p == nil {
				return fmt.Errorf("NodeUnprepareResources returned result for unknown claim UID %s", uid)
			}
			if r.GetError() != "" {
				return fmt.Errorf("NodeUnprepareResources failed for ResourceClaim %s: %s", p.Name, r.GetError())
			}
		}
		if left := len(mine) - len(resp.GetClaims()); left != 0 {
			return fmt.Errorf("NodeUnprepareResources skipped %d ResourceClaims", left)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range last {
		delete(m.claims, object.Key{Namespace: p.Namespace, Name: p.Name})
	}
	if err := m.save(); err != nil {
		return fmt.Errorf("checkpoint ResourceClaim state: %w", err)
	}
	return nil
}

// leave takes a pod off claims that others use, too; last are those that only it uses, which nobody else may begin to use from now on.
func (m *Manager) leave(pod types.UID) (last []*prepared, shared bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.claims {
		i := slices.Index(p.Pods, pod)
		switch {
		case i < 0:
		case len(p.Pods) > 1:
			p.Pods = slices.Delete(p.Pods, i, i+1)
			shared = true
		default:
			p.ending = true
			last = append(last, p)
		}
	}
	return last, shared
}
