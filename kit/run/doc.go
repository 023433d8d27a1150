// Package run starts a list of components and lives as long as all of them: the first to return takes the rest down, with
// its name in the error. It imports the standard library only. Read run.go.
package run
