package cli

import (
	"context"
	"errors"

	"proa.dev/process"
)

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
