// Package keeper is the daemon's side of keepers: the binary they are made of (binary.go), starting one for a pod
// (spawn.go), and talking to it (client.go). What a keeper does is in keeper/supervise, what it says in keeper/wire, and
// what happens inside a container before its program in keeper/stage.
//
// The binary is built before proa (go build -o runtime/keeper/embedded/proa-keeper ./cmd/proa-keeper) and carried inside
// it. At run time it lives in a sealed memory file: no path leads to it and nobody can write it, also not a container that
// gets hold of /proc/<pid>/exe.
//
// It imports keeper/wire and x/sys/unix. Read client.go first.
package keeper
