// Package device hands out what device plugins of others advertise (deviceplugin v1beta1): graphics cards, network functions, and whatever
// else a resource name stands for.
//
//	plugin -> Register on <root>/device-plugins/kubelet.sock -> we dial its socket -> ListAndWatch tells devices and their health
//	pod    -> Allocate: choose devices, ask the plugin what a container needs for them (serve.go, allocate.go)
//	       -> Add: environment, mounts, device files, CDI names go into each of the container's instances (options.go)
//
// What was handed out is in a checkpoint beside the socket, in the format that other tools read, and stays with a container until its pod is
// over: over restarts of the container, of this process and of the plugin. The socket is made anew whenever this process starts, by which
// plugins know that they have to register again.
//
// It imports kubelet/plugin, kubelet/topology and kit. Read manager.go, then allocate.go.
package device
