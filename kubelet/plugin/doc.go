// Package plugin finds the drivers that live beside the kubelet: CSI drivers, DRA drivers, device plugins. A driver puts a unix socket
// anywhere below <kubelet's root>/plugins_registry that speaks pluginregistration.v1; it is asked what it is, the handler of its type
// takes or refuses it, and it is told the answer. A socket that goes, or is made anew, ends what it stood for.
//
//	<kubelet's root>/plugins_registry/ebs.csi.example.com-reg.sock
//	    GetInfo -> {CSIPlugin, ebs.csi.example.com, /var/lib/kubelet/plugins/ebs/csi.sock, [1.0.0]}
//	    Handler.Validate, Handler.Register -> NotifyRegistrationStatus{registered, error}
//
// The folder is watched by inotify: nothing polls, and a node without drivers pays for one goroutine that sleeps. A driver that does not
// answer, or is refused, is tried again, at first after half a second, at last every two minutes.
//
// It imports gRPC and the messages of the registration only. Read plugin.go.
package plugin
