package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	resource "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	health1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthalpha "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	dra "k8s.io/kubelet/pkg/apis/dra/v1"
	beta "k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"proa.dev/client"
	"proa.dev/kubelet/plugin"
	"proa.dev/object"
)

const (
	callTimeout = 45 * time.Second
	away        = 30 * time.Second // see Config.Away
)

// driver is one process that serves a driver's name.
type driver struct {
	name, endpoint string
	conn           *grpc.ClientConn
	service        string // that it is called by
	watch          string // the service that tells health; "" is none
	connected      bool   // guarded by Manager.mu
	stop           context.CancelFunc
}

// services are those that can be called, the newest first.
var services = [...]string{dra.DRAPluginService, beta.DRAPluginService}

// choose picks the service of a driver: the first in its list that we know, as it says what it prefers.
func choose(offered []string) (string, error) {
	if len(offered) == 0 {
		return "", errors.New("empty list of supported gRPC services (aka supported versions)")
	}
	for _, s := range offered {
		if slices.Contains(services[:], s) {
			return s, nil
		}
	}
	return "", fmt.Errorf("none of services supported by the plugin (%q) are supported by the kubelet (%q)", offered, services)
}

// Validate implements plugin.Handler.
func (m *Manager) Validate(i plugin.Info) error {
	if _, err := choose(i.Versions); err != nil {
		return fmt.Errorf("invalid supported gRPC versions of DRA driver plugin %s at endpoint %s: %w", i.Name, i.Endpoint, err)
	}
	return nil
}

// Register implements plugin.Handler.
func (m *Manager) Register(_ context.Context, i plugin.Info) error {
	service, err := choose(i.Versions)
	if err != nil {
		return fmt.Errorf("invalid supported gRPC versions of DRA driver plugin %s at endpoint %s: %w", i.Name, i.Endpoint, err)
	}
	d := &driver{name: i.Name, endpoint: i.Endpoint, service: service}
	for _, s := range []string{health1.DRAResourceHealthService, healthalpha.DRAResourceHealthService} {
		if d.watch == "" && slices.Contains(i.Versions, s) {
			d.watch = s
		}
	}
	if d.conn, err = grpc.NewClient("unix:"+i.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(m.counts.measured(i.Name))); err != nil {
		return fmt.Errorf("create gRPC connection to DRA driver %s plugin at endpoint %s: %w", i.Name, i.Endpoint, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.drivers[i.Name], func(o *driver) bool { return o.endpoint == i.Endpoint }) {
		return errors.Join(fmt.Errorf("endpoint %s already registered for DRA driver plugin %s", i.Endpoint, i.Name), d.conn.Close())
	}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(m.life)
	m.drivers[i.Name] = append(m.drivers[i.Name], d)
	m.judge(i.Name)
	m.tasks.Go(func() { m.follow(ctx, d) })
	if d.watch != "" {
		m.tasks.Go(func() { m.watchHealth(ctx, d) })
	}
	return nil
}

// Deregister implements plugin.Handler.
func (m *Manager) Deregister(i plugin.Info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.drivers[i.Name]
	at := slices.IndexFunc(list, func(d *driver) bool { return d.endpoint == i.Endpoint })
	if at < 0 {
		return
	}
	d := list[at]
	d.stop()
	go d.conn.Close() // it may wait for callbacks
	if list = slices.Delete(list, at, at+1); len(list) > 0 {
		m.drivers[i.Name] = list
	} else {
		delete(m.drivers, i.Name)
	}
	m.judge(i.Name)
}

// follow keeps the connection to a driver, to know at any time whether it is there.
func (m *Manager) follow(ctx context.Context, d *driver) {
	for {
		state := d.conn.GetState()
		if state == connectivity.Idle {
			d.conn.Connect()
		}
		m.mu.Lock()
		if connected := state == connectivity.Ready; connected != d.connected {
			d.connected = connected
			m.judge(d.name)
		}
		m.mu.Unlock()
		if !d.conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// judge sees to it that what a driver offers is withdrawn in time if nobody serves it. m.mu is held.
func (m *Manager) judge(name string) {
	if slices.ContainsFunc(m.drivers[name], func(d *driver) bool { return d.connected }) {
		if t := m.wipes[name]; t != nil {
			t.Stop()
			delete(m.wipes, name)
		}
		return
	}
	if m.wipes[name] != nil || m.life.Err() != nil {
		return
	}
	life := m.life
	m.wipes[name] = time.AfterFunc(m.Away, func() {
		m.mu.Lock()
		due := m.wipes[name] != nil && life.Err() == nil
		delete(m.wipes, name)
		if due {
			m.tasks.Go(func() { m.wipe(life, name) }) // before Run can be at its end: it holds the lock to get there
		}
		m.mu.Unlock()
	})
}

// expect waits for the drivers that have slices of this node.
func (m *Manager) expect(ctx context.Context) {
	which := metav1.ListOptions{FieldSelector: fields.Set{resource.ResourceSliceSelectorNodeName: m.Node}.String()}
	m.insist(ctx, "resource slices not looked at", func(ctx context.Context) error {
		list, err := m.Client.List(ctx, client.TargetOf[resource.ResourceSlice](object.Key{}), which)
		if err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, o := range list.Items {
			if s, ok := o.(*resource.ResourceSlice); ok {
				m.judge(s.Spec.Driver)
			}
		}
		return nil
	})
}

// wipe removes this node's slices of a driver.
func (m *Manager) wipe(ctx context.Context, name string) {
	of := fields.Set{resource.ResourceSliceSelectorNodeName: m.Node, resource.ResourceSliceSelectorDriver: name}
	which := metav1.ListOptions{FieldSelector: of.String()}
	m.insist(ctx, "resource slices not withdrawn", func(ctx context.Context) error {
		m.Log.Info("resource slices withdrawn", "driver", name)
		return m.Client.DeleteCollection(ctx, client.TargetOf[resource.ResourceSlice](object.Key{}), metav1.DeleteOptions{}, which)
	})
}

// insist does something with the API until it succeeds or ctx ends.
func (m *Manager) insist(ctx context.Context, complaint string, do func(context.Context) error) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 5*time.Minute) {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		err := do(limited)
		cancel()
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if ctx.Err() == nil {
			m.Log.Warn(complaint, "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

// driver finds who serves a name.
func (m *Manager) driver(name string) (*driver, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.drivers[name]
	if len(list) == 0 {
		return nil, fmt.Errorf("DRA driver %s is not registered", name)
	}
	for _, d := range slices.Backward(list) {
		if d.connected {
			return d, nil
		}
	}
	return list[len(list)-1], nil
}

func (d *driver) prepare(ctx context.Context, claims []*dra.Claim) (*dra.NodePrepareResourcesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &dra.NodePrepareResourcesRequest{Claims: claims}
	if d.service == beta.DRAPluginService {
		return beta.V1Beta1ClientWrapper{DRAPluginClient: beta.NewDRAPluginClient(d.conn)}.NodePrepareResources(ctx, req)
	}
	return dra.NewDRAPluginClient(d.conn).NodePrepareResources(ctx, req)
}

func (d *driver) unprepare(ctx context.Context, claims []*dra.Claim) (*dra.NodeUnprepareResourcesResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req := &dra.NodeUnprepareResourcesRequest{Claims: claims}
	if d.service == beta.DRAPluginService {
		return beta.V1Beta1ClientWrapper{DRAPluginClient: beta.NewDRAPluginClient(d.conn)}.NodeUnprepareResources(ctx, req)
	}
	return dra.NewDRAPluginClient(d.conn).NodeUnprepareResources(ctx, req)
}
