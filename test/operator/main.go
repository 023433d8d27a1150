package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

// run is the operator against the cluster of KUBECONFIG, or the one it runs in.
func run() error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	m, err := newManager(config, ctrl.Options{LeaderElection: true, LeaderElectionID: "garden.example.org"})
	if err != nil {
		return err
	}
	return m.Start(ctrl.SetupSignalHandler())
}
