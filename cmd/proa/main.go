package main

import (
	"os"

	"proa.dev/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
