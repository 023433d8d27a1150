// Package registrytest is a small image registry for tests: pull and push of the distribution specification on a loopback
// port, with the ways a registry can refuse or fail. It enforces what a client must do: it answers only well-formed paths,
// and without the right Authorization only with a challenge. It imports archive and content. Read server.go.
package registrytest
