// Package discovery tells clients what the API server serves: the groups, their versions, and the resources of each with verbs,
// short names and subresources. It answers in both forms:
//
//	GET /api, /apis               lists of versions and groups; or, with Accept: application/json;g=apidiscovery.k8s.io;v=v2;
//	                              as=APIGroupDiscoveryList, everything at once (KEP-3352)
//	GET /apis/apps                one group
//	GET /api/v1, /apis/apps/v1    the resources of one version
//
// Everything is computed from the kinds on each request, so a new kind shows at once. It imports kinds, object, apimachinery and
// k8s.io/api. Read discovery.go.
package discovery
