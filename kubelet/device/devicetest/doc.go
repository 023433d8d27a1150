// Package devicetest is a device plugin for tests: its devices are what a test says, and what it was asked can be read.
package devicetest
