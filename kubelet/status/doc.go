// Package status says what the API shall show of a pod and writes it there. Generate is pure: the runtime's state, the probes and
// what the pod worker decided go in, a PodStatus comes out, with Kubernetes' phases, conditions, reasons and words. Writer sends it,
// once per change, keeps what belongs to others (conditions, fields), and removes the pod's object when its end was told.
//
// It imports object, client, and kubelet/{observe,spec}. Read generate.go, then writer.go.
package status
