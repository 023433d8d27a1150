package process

import (
	"path/filepath"

	"proa.dev/kubelet/csi"
	"proa.dev/kubelet/localvolume"
	"proa.dev/kubelet/plugin"
	"proa.dev/kubelet/source"
)

// newDrivers makes what looks after the node's CSI drivers.
func newDrivers(d nodeDeps, plugins *plugin.Watcher) (*csi.Drivers, error) {
	drivers, err := csi.New(csi.Deps{
		Node: d.config.Node, Root: d.config.KubeletDir, Client: d.client, View: d.view,
		Sources: &source.Objects{View: d.view, Client: d.client}, Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	plugins.Handle(plugin.CSI, drivers)
	return drivers, nil
}

// newLocalVolumes makes the built-in driver, nil where it is switched off.
func newLocalVolumes(d nodeDeps, kubelet localvolume.Registrar) (*localvolume.Driver, error) {
	if !d.config.Enabled("local-volumes") {
		return nil, nil
	}
	return localvolume.New(localvolume.Deps{
		Node: d.config.Node, Dir: filepath.Join(d.config.DataDir, "volumes"), Socket: filepath.Join(d.config.RunDir, "local-volumes.sock"),
		Client: d.client, View: d.view, Kubelet: kubelet, Log: d.log,
	})
}
