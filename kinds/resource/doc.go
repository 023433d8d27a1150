// Package resource holds the kinds of resource.k8s.io: devices that drivers offer, classes of them, and claims to them. Fields that
// stand behind features which are off in Kubernetes are taken away, as there.
//
// It imports kinds, kinds/check, kinds/core, kinds/core/resources and kinds/resource/device, which compiles selectors. Read
// resourceclaim.go and validate.go.
package resource
