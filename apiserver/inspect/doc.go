// Package inspect is what operators look at to see how a server is doing: /statusz and /flagz (KEP-4827, KEP-4828), and Go's profiles
// under /debug/pprof/. It imports apiserver/codec; nothing of it runs until somebody asks. Read page.go.
package inspect
