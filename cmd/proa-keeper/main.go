package main

import (
	"os"

	"proa.dev/runtime/keeper/stage"
	"proa.dev/runtime/keeper/supervise"
)

func main() {
	if len(os.Args) != 2 {
		os.Stderr.WriteString("proa-keeper is started by proa\n")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "stage":
		stage.Container()
	case "exec":
		stage.Exec()
	case "pause":
		supervise.Pause()
	default: // a sandbox ID, so that ps shows whose keeper it is
		os.Exit(supervise.Run())
	}
}
