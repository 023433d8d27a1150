// Package registry is the client of image registries: pull and push of the OCI distribution specification and of Docker's
// registry API before it, over HTTPS, and over plain HTTP where that is configured or the registry is on this machine.
//
//	HEAD /v2/library/nginx/manifests/1.27        what does the tag mean today
//	GET  /v2/library/nginx/manifests/sha256:...  index, then manifest
//	GET  /v2/library/nginx/blobs/sha256:...      Range: bytes=1048576- goes on where a download broke off
//
// A registry that wants to know who asks says so with a 401 and a challenge: basic credentials, or a bearer token from
// the server that the challenge names (distribution's token specification, and its OAuth2 form for identity tokens).
// Mirrors are asked first, in order, without the user's credentials. What passes by itself (429, 5xx, a lost
// connection) is tried again with growing pauses; errors say which registry refused what, and why.
//
// It imports manifest, reference, go-digest and the image specification. Read client.go first, then repository.go.
package registry
