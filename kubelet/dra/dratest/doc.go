// Package dratest is a DRA driver for tests: it prepares any claim, and what it was asked can be read.
package dratest
