// Package roottest is the one place where a test says that it needs root. Read roottest.go.
package roottest
