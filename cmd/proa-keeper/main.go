package main

import (
	"os"

	"proa.dev/network/dns/standby"
	"proa.dev/runtime/keeper/stage"
	"proa.dev/runtime/keeper/supervise"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == standby.Word {
		if err := standby.Run(os.Args[2]); err != nil {
			os.Stderr.WriteString("proa-keeper: " + err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	if len(os.Args) != 2 {
		os.Stderr.WriteString("proa-keeper is started by proa\n")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "stage":
		stage.Container()
	case "exec":
		stage.Exec()
	case "enter":
		stage.Enter()
	case "pause":
		supervise.Pause()
	default: // a sandbox ID, so that ps shows whose keeper it is
		os.Exit(supervise.Run())
	}
}
