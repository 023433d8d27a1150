package dra

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	health1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthalpha "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"

	"proa.dev/object"
)

const (
	stale      = 30 * time.Second // how long a driver's word is good for, unless it says so
	watchAgain = 5 * time.Second
	maxKnown   = 16384 // devices of one driver whose health is kept
)

// health is what a driver said of a device.
type health struct {
	status  core.ResourceHealthStatus
	message string
	at      time.Time
	good    time.Duration
}

// watchHealth follows what a driver says until ctx ends.
func (m *Manager) watchHealth(ctx context.Context, d *driver) {
	for ctx.Err() == nil {
		if status.Code(m.watchOnce(ctx, d)) == codes.Unimplemented {
			return
		}
		m.mu.Lock()
		delete(m.health, d.name)
		m.mu.Unlock()
		t := time.NewTimer(watchAgain)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

func (m *Manager) watchOnce(ctx context.Context, d *driver) error {
	var stream health1.DRAResourceHealth_NodeWatchResourcesClient
	var err error
	if d.watch == healthalpha.DRAResourceHealthService {
		stream, err = health1.V1Alpha1ClientWrapper{Client: healthalpha.NewDRAResourceHealthClient(d.conn)}.NodeWatchResources(ctx, &health1.NodeWatchResourcesRequest{})
	} else {
		stream, err = health1.NewDRAResourceHealthClient(d.conn).NodeWatchResources(ctx, &health1.NodeWatchResourcesRequest{})
	}
	for err == nil {
		var r *health1.NodeWatchResourcesResponse
		if r, err = stream.Recv(); err == nil {
			m.learn(d.name, r.GetDevices(), time.Now())
		}
	}
	return err
}

// learn takes in what a driver says: it names all devices, every time.
func (m *Manager) learn(driver string, devices []*health1.DeviceHealth, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := map[string]health{}
	for _, d := range devices[:min(len(devices), maxKnown)] {
		h := health{at: now, good: stale, message: d.GetMessage()}
		if n := d.GetHealthCheckTimeoutSeconds(); n > 0 {
			h.good = time.Duration(n) * time.Second
		}
		if len(h.message) > core.ResourceHealthMessageMaxLength {
			h.message = strings.ToValidUTF8(h.message[:core.ResourceHealthMessageMaxLength-3], "") + "..."
		}
		switch d.GetHealth() {
		case health1.HealthStatus_HEALTHY:
			h.status = core.ResourceHealthStatusHealthy
		case health1.HealthStatus_UNHEALTHY:
			h.status = core.ResourceHealthStatusUnhealthy
		default:
			h.status = core.ResourceHealthStatusUnknown
		}
		fresh[d.GetDevice().GetPoolName()+"/"+d.GetDevice().GetDeviceName()] = h
	}
	old := m.health[driver]
	m.health[driver] = fresh
	told := map[types.UID]bool{}
	for _, p := range m.claims {
		for _, d := range p.Drivers[driver] {
			key := d.Pool + "/" + d.Name
			if a, b := old[key], fresh[key]; a.status != b.status || a.message != b.message {
				for _, uid := range p.Pods {
					told[uid] = true
				}
			}
		}
	}
	for uid := range told {
		m.Renew(uid)
	}
}

// Statuses tells how the claimed devices of a container are.
func (m *Manager) Statuses(pod *core.Pod, c *core.Container) (out []core.ResourceStatus) {
	if len(c.Resources.Claims) == 0 {
		return nil
	}
	list, err := uses(pod, c)
	if err != nil {
		return nil // it was told when the pod was prepared
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, u := range list {
		p := m.claims[object.Key{Namespace: pod.Namespace, Name: u.claim}]
		if p == nil || u.podClaim == "" {
			continue
		}
		s := core.ResourceStatus{Name: core.ResourceName("claim:" + u.podClaim)}
		if u.request != "" {
			s.Name += core.ResourceName("/" + u.request)
		}
		seen := map[core.ResourceID]bool{}
		for _, name := range slices.Sorted(maps.Keys(p.Drivers)) {
			for i := range p.Drivers[name] {
				d := &p.Drivers[name][i]
				if h := m.healthOf(name, d, now); d.For(u.request) && !seen[h.ResourceID] {
					seen[h.ResourceID] = true
					s.Resources = append(s.Resources, h)
				}
			}
		}
		if len(s.Resources) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (m *Manager) healthOf(driver string, d *Device, now time.Time) core.ResourceHealth {
	out := core.ResourceHealth{Health: core.ResourceHealthStatusUnknown, ResourceID: core.ResourceID(fmt.Sprintf("%s/%s/%s", driver, d.Pool, d.Name))}
	if len(d.CDI) > 0 {
		out.ResourceID = core.ResourceID(d.CDI[0])
	}
	if h, ok := m.health[driver][d.Pool+"/"+d.Name]; ok && now.Sub(h.at) <= h.good {
		out.Health = h.status
		if h.message != "" {
			out.Message = &h.message
		}
	}
	return out
}
