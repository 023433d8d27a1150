// Package apiserver is the Kubernetes API over HTTPS: a chain of stages, written out in chain.go, in front of the verbs of
// apiserver/rest, which read apiserver/cache and write through it to the store.
//
//	identify -> count -> recover -> audit -> authenticate -> impersonate -> fair share -> authorise -> route
//
// server.go puts the parts together; request.go says what a request is about; read.go, write.go and watch.go are the verbs as HTTP
// has them; answer.go writes objects, lists and errors. It may import everything under apiserver, and kinds, client, store and
// object. Read server.go, then chain.go.
package apiserver
