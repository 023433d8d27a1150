// Package stream serves what the API server does not answer itself but passes on: pods/log, pods/exec, pods/attach, pods/portforward to
// the kubelet of the pod's node; pods/proxy, services/proxy and nodes/proxy to whoever is meant. Requests come here after
// authentication and authorisation.
//
// A client may speak SPDY/3.1 (kubectl up to 1.30, and as a fallback) or WebSockets. Container runtimes speak SPDY and the WebSocket
// protocols up to v4.channel.k8s.io, so three things are translated here (KEP-4006):
//
//	client                                       to the kubelet
//	SPDY, WebSocket up to v4                     as it is: one upgraded connection, bytes in both directions
//	WebSocket v5.channel.k8s.io (exec, attach)   SPDY: channel 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize; 255 n ends channel n
//	WebSocket SPDY/3.1+portforward.k8s.io        SPDY: the messages are the bytes of a SPDY connection
//
// It imports client and object. Read stream.go, then translate.go.
package stream
