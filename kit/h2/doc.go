// Package h2 serves HTTP/2 (RFC 9113, header compression by RFC 7541) inside an ordinary http.Server, which keeps what it is good at:
// accepting, TLS, HTTP/1.1, the base context, Shutdown and Close.
//
// net/http's own HTTP/2 hands every frame from the handler's goroutine to one that serves the connection and from there to one that
// writes. For answers of a kilobyte those hand-overs cost several times what the encryption and the system call do. Here the goroutine
// that made an answer puts it on the wire:
//
//	reader   one goroutine per connection: net/http's own. It reads frames, starts a goroutine for every request, and never writes
//	handler  one goroutine per request: it frames its answer into conn.pending and, if nobody is sending, becomes the sender
//	sender   whoever set conn.sending: encrypts all that is pending and writes it with one system call, until nothing is left. Others
//	         leave their frames behind and go on. Frames that the reader makes are sent by a goroutine of their own, when nobody is there
//
// So a small answer is HEADERS, DATA and END_STREAM in one TLS record and one write(2), answers that are done at the same time
// share both, and big ones go out in writes of many records.
//
// What bounds memory: a writer waits while the peer's windows are closed (flow.go) or pendingLimit bytes wait to be sent; frames that
// the reader makes are counted; a request's body is held within the windows that the peer was given. An idle connection keeps its
// conn, its decoder's table and what TLS needs; buffers come from pools.
//
// A peer that takes no bytes blocks a sender inside write(2). To free it, because its stream was reset or its deadline has passed,
// the encrypted bytes are kept apart from the TLS state (wire.go): the write is broken off, and a goroutine of its own carries on
// from the very byte.
//
// One conversation, c the client:
//
//	c  PRI * HTTP/2.0, SETTINGS, HEADERS 1 END_HEADERS (POST /x, content-length 3), DATA 1 END_STREAM "abc"
//	s  SETTINGS, WINDOW_UPDATE 0, SETTINGS ACK
//	s  HEADERS 1 END_HEADERS (:status 200, content-length 2), DATA 1 END_STREAM "ok"
//
// What handlers see is what net/http shows them: package net/http says what Request, ResponseWriter and ResponseController do, and
// h2_test.go compares. Server push, priorities, extended CONNECT and ConnState hooks are left out.
//
// It imports hpack and httpguts of golang.org/x/net. Read conn.go, then send.go.
package h2
