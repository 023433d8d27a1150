// Package cdi puts devices of the Container Device Interface (specification 1.1, cncf-tags/container-device-interface) into containers:
// vendors describe them in files below /etc/cdi and /var/run/cdi, a container names them, and gets what the file says: device nodes,
// environment, mounts, groups, hooks.
//
//	{"cdiVersion": "0.6.0", "kind": "vendor.com/gpu",
//	 "devices": [{"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/gpu0"}], "env": ["GPU=0"]}}],
//	 "containerEdits": {"mounts": [{"hostPath": "/opt/gpu", "containerPath": "/opt/gpu", "options": ["ro", "bind"]}]}}
//
//	"vendor.com/gpu=0"   names it; the edits of the file as a whole are made once, and before those of its devices
//
// Files are read when a container names a device, and not before. What a file in a later directory says of a device hides what an
// earlier one does; two that disagree in one directory make it unknown. It imports the OCI types and yaml. Read cdi.go.
package cdi
