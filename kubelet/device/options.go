package device

import (
	"context"
	"fmt"
	"maps"
	"slices"

	core "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"proa.dev/kubelet/topology"
)

// Add completes the configuration of one instance of a container: it tells plugins that want to know that it starts, and adds what they
// answered when its devices were given. What the configuration has already under the same name or path stays.
func (m *Manager) Add(ctx context.Context, pod *core.Pod, c *core.Container, config *runtimeapi.ContainerConfig) error {
	lost := false
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Limits)) {
		q := c.Resources.Limits[name]
		if q.IsZero() || claimed(pod, c.Name, name) || !m.Handles(name) {
			continue
		}
		ids, plugin, known := m.ready(pod, c.Name, string(name))
		lost = lost || len(ids) == 0
		if !known {
			return fmt.Errorf("endpoint not found in cache for a registered resource: %s", name)
		}
		if plugin == nil || !plugin.options.GetPreStartRequired() {
			continue
		}
		if len(ids) == 0 {
			return fmt.Errorf("no devices found allocated in local cache for pod %s, container %s, resource %s", pod.UID, c.Name, name)
		}
		if err := plugin.preStart(ctx, ids); err != nil {
			return fmt.Errorf("device plugin PreStartContainer rpc failed with err: %v", err)
		}
	}
	if lost { // admitted before the plugin was known, at a restart of the machine
		if err := m.Allocate(ctx, pod, c, topology.Hint{Any: true}); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	resources := m.given[pod.UID][c.Name]
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		add(config, resources[name].resp)
	}
	return nil
}

// ready is what a container has of a resource, and its plugin, nil while there is none.
func (m *Manager) ready(pod *core.Pod, container, name string) (ids []string, plugin *conn, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.given[pod.UID][container][name]; g != nil {
		ids = g.ids
	}
	a := m.resources[name]
	if a == nil {
		return ids, nil, false
	}
	return ids, a.plugin(), true
}

func add(config *runtimeapi.ContainerConfig, r *api.ContainerAllocateResponse) {
	for _, k := range slices.Sorted(maps.Keys(r.GetEnvs())) {
		if !slices.ContainsFunc(config.Envs, func(e *runtimeapi.KeyValue) bool { return e.GetKey() == k }) {
			config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: k, Value: []byte(r.GetEnvs()[k])})
		}
	}
	for _, d := range r.GetDevices() {
		if !slices.ContainsFunc(config.Devices, func(h *runtimeapi.Device) bool { return h.GetContainerPath() == d.GetContainerPath() }) {
			config.Devices = append(config.Devices, &runtimeapi.Device{
				ContainerPath: d.GetContainerPath(), HostPath: d.GetHostPath(), Permissions: d.GetPermissions(),
			})
		}
	}
	for _, n := range r.GetMounts() {
		if !slices.ContainsFunc(config.Mounts, func(h *runtimeapi.Mount) bool { return h.GetContainerPath() == n.GetContainerPath() }) {
			config.Mounts = append(config.Mounts, &runtimeapi.Mount{
				ContainerPath: n.GetContainerPath(), HostPath: n.GetHostPath(), Readonly: n.GetReadOnly(),
			})
		}
	}
	for k, v := range r.GetAnnotations() {
		if _, ok := config.Annotations[k]; !ok {
			if config.Annotations == nil {
				config.Annotations = map[string]string{}
			}
			config.Annotations[k] = v
		}
	}
	for _, d := range r.GetCdiDevices() {
		if !slices.ContainsFunc(config.CDIDevices, func(h *runtimeapi.CDIDevice) bool { return h.GetName() == d.GetName() }) {
			config.CDIDevices = append(config.CDIDevices, &runtimeapi.CDIDevice{Name: d.GetName()})
		}
	}
}
