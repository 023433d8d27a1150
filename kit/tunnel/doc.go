// Package tunnel passes an HTTP request that asks for an upgrade (SPDY, WebSocket) on to another server, and then all bytes of both
// directions until both sides are done. Unlike httputil.ReverseProxy it delivers everything that the server said even if the server
// hangs up while the client still talks: a command that ends before its stdin does must not lose its output. Read tunnel.go.
package tunnel
