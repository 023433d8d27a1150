// Package reference parses the names of images as users write them: "nginx" is docker.io/library/nginx:latest.
//
//	[domain[:port]/]path[:tag][@digest]
//
// The grammar and the short forms are those of the distribution project and of every container tool since. It imports only
// go-digest. Read reference.go.
package reference
