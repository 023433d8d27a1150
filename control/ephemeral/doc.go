// Package ephemeral makes the claims of generic ephemeral volumes: for each such volume of a pod one claim <pod>-<volume>, from the pod's
// template, that belongs to the pod and goes with it. It imports control. Read controller.go.
package ephemeral
