// Package namespace empties namespaces that are being deleted and then lets them go: pods first, and only when the last of them is gone
// everything else (KEP-5080), so that nothing a running pod leans on disappears under it. What stands in the way shows as conditions of
// the namespace, in Kubernetes' words.
//
// What is in a namespace is what the View carries of it; the API refuses to put more in. While there are versions of which the View
// knows nothing, no namespace goes. It imports control. Read plan.go.
package namespace
