// Package apps holds the kinds of the apps group: Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision. It imports
// kinds, kinds/core for pod templates, object and k8s.io/api. Read deployment.go.
package apps
