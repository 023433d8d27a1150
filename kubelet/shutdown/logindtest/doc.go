// Package logindtest is a D-Bus with a logind on it, for tests: it authenticates everybody, hands out delay locks as pipes, and says when
// it would shut down. It speaks the wire protocol of the D-Bus specification 0.43 to one client at a time, on a socket of its own.
//
// It imports nothing of proa. Read logind.go.
package logindtest
