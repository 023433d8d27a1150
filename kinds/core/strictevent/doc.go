// Package strictevent checks events that come by way of events.k8s.io/v1, which asks for more than v1. It imports check.
package strictevent
