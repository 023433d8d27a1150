// Package podsecurity holds pods against the Pod Security Standards (KEP-2579) at the level that the labels of their namespace say:
// enforced for pods, and told as a warning for pods and for what makes pods. The checks are Kubernetes' own library.
//
// It imports apiserver/admission, apiserver/rest (for warnings) and client. Read podsecurity.go.
package podsecurity
