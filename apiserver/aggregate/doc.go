// Package aggregate lets other API servers answer for group versions: each APIService that names a service is a way to one. Requests
// have been authenticated and authorised when they come here, and go on as the server says who asks:
//
//	client -> chain.go -> Serving(group, version) -> the service's endpoint, by TLS with the front proxy's certificate and
//	X-Remote-User, X-Remote-Uid, X-Remote-Group, X-Remote-Extra-*
//
// Aggregator.Run follows the APIServices. For the versions that this server answers itself it makes them, as Kubernetes does, and
// never looks after them again. For the others it asks now and then whether they answer, writes that into the condition Available, and
// keeps what they serve, to be shown beside our own in discovery and OpenAPI. While there are none of those, a request costs one
// look at a nil pointer.
//
// It imports apiserver/authn, apiserver/discovery, apiserver/openapi, client, kinds and object. Read aggregate.go, then backend.go.
package aggregate
