// Package nettest gives tests a network of their own: Main runs the whole test binary in a new network namespace, New makes
// further ones for pods and clients, and View is a client.View made by hand. Nothing a test sends can leave the machine: its
// namespaces have no link to the host, and their default routes are unreachable.
//
// It is for tests only. Read nettest.go.
package nettest
