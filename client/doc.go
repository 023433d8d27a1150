// Package client is the seam to the Kubernetes API as its users inside proa see it: a Client writes and reads as one identity, a
// View reads shared objects in place and tells of their changes. Both have two forms that pass one suite (client/clienttest):
// in process (apiserver/local) and over HTTPS (client/remote).
//
// The rules of both forms:
//
//   - Objects that come out (of a View, an event, the answer of a call) are frozen shared memory. Change an object.Clone.
//   - An object handed to Create or Update belongs to the Client from then on.
//   - Errors of the API are those of k8s.io/apimachinery/pkg/api/errors (apierrors.IsNotFound and so on).
//   - In process, a write is visible in the View before the call returns, so a controller needs no expectations. Over the wire it
//     becomes visible soon after.
//
// It imports object only. Read client.go, then typed.go for the generic functions that callers use.
package client
