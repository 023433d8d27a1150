package cli

import (
	"context"
	"errors"

	"proa.dev/process"
)

// agent joins this machine to a cluster. On the server, then here:
//
//	proa kubeconfig --node=NAME --node-ip=IP > node.kubeconfig
//	proa agent --server-kubeconfig=node.kubeconfig
//
// The file holds one certificate, good for a year, by which the node knows itself to the server and serves its kubelet's API; it opens
// no more than what a node needs. The ranges under network have to be the same on both machines.
func agent(ctx context.Context, c *call) error {
	if c.config.ServerKubeconfig == "" {
		return usageError{"agent: say --server-kubeconfig=FILE, with what proa kubeconfig --node=NAME --node-ip=IP printed on the server"}
	}
	err := process.Agent(ctx, c.config, logger(c.config))
	if errors.Is(err, process.ErrRunning) {
		return hinted{err, "proa status says what runs"}
	}
	return err
}
