package cli

import (
	"context"
	"errors"

	"proa.dev/process"
)

// runtimeAlone serves CRI alone, for the kubelet of another Kubernetes or for crictl.
func runtimeAlone(ctx context.Context, c *call) error {
	err := process.Runtime(ctx, c.config, logger(c.config))
	if errors.Is(err, process.ErrRunning) {
		return hinted{err, "proa status says what runs"}
	}
	return err
}
