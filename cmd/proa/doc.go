// Command proa is the whole of proa: the commands of a user and every role of the daemon. Read cli/cli.go.
package main
