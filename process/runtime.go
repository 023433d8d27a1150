package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"proa.dev/config"
	"proa.dev/kit/run"
	"proa.dev/runtime/cri"
)

// Runtime runs the container runtime and its network alone, behind the CRI socket, for a kubelet that is not proa's, until ctx ends.
func Runtime(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	if c.Runtime.Endpoint != "" {
		return fmt.Errorf("runtime.endpoint names another runtime (%s): this one would not be used", c.Runtime.Endpoint)
	}
	held, err := lock(c)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	n := &node{deps: nodeDeps{config: c, log: log}, tidied: make(chan struct{})}
	defer func() { err = errors.Join(err, n.close()) }()
	if n.plugin, err = newPlugin(c, log); err != nil {
		return err
	}
	if err := n.buildRuntime(); err != nil {
		return err
	}
	steps := newSteps(time.Now(), 0)
	return run.All(ctx, append(n.runtimeParts(),
		run.Component{Name: "private socket", Run: (&admin{path: adminPath(c), steps: steps, images: n.keptImages()}).Run})...)
}

// runtimeParts are what runs of proa's own runtime.
func (n *node) runtimeParts() []run.Component {
	return []run.Component{
		{Name: "images", Run: n.images.Run},
		{Name: "runtime", Run: n.runtime.Run},
		{Name: "network of sandboxes", Run: n.tidyNetwork},
		{Name: "network of pods", Run: n.plugin.Run},
		{Name: "CRI socket", Run: func(ctx context.Context) error {
			return cri.Serve(ctx, n.deps.config.Runtime.Socket, n.runtime, cri.NewImages(n.images))
		}},
	}
}
