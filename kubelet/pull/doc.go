// Package pull makes images present that containers want, as the pull policy says: Always, IfNotPresent, Never. An image that is there
// already is used only by a pod that may have it (see kubelet/pulled); else it is pulled with the pod's own credentials: those of its pull
// secrets, the closest match first, then those of plugins.
//
// What goes wrong is said in the API's words, as an *Error. When to try again is for those who ask. It imports kit and kubelet's cri,
// pulled, spec and status. Read pull.go.
package pull
