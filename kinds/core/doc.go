// Package core holds the kinds of the core group: one file per kind, each with defaults, preparation, validation and table row, and
// in focused files what pods and pod templates share (podspec_*.go, container_*.go, volume_*.go). The packages of other groups whose
// kinds hold a pod template (apps, batch) use DefaultPodTemplate and ValidatePodTemplate.
//
// Field paths and messages of validation follow Kubernetes to the letter, because clients show and test them.
// It imports kinds, object, apimachinery and k8s.io/api. Read configmap.go, then pod.go.
package core
