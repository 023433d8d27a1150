// Package pulled knows by whom images were pulled that are on the node, so that an image that came with somebody's secret is not
// everybody's (KEP 2535). It keeps one file for an image, below <root>/image_manager, in the form that Kubernetes' kubelet keeps it in:
//
//	pulling/sha256-<of the name>  {"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"reg.example/app:1"}
//	pulled/sha256-<of the id>     {"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2026-11-29T03:00:00Z",
//	                               "imageRef":"sha256:...","credentialMapping":{"reg.example/app":{"kubernetesSecrets":[
//	                               {"uid":"...","namespace":"default","name":"pull","credentialHash":"..."}]}}}
//
// The first stands from before a pull until after it, so that what a process that died has pulled counts as pulled with credentials that
// nobody knows. An image without either came in another way (it was preloaded, or imported), and the policy says whether that is enough.
// A file that cannot be read makes the credentials of its image be verified anew, and is replaced when that was done.
//
// All files are read once, at the start: a question afterwards is a look into a map. It imports kit. Read records.go, then decide.go.
package pulled
