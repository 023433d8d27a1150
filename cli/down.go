package cli

import (
	"context"
	"fmt"

	"proa.dev/process"
)

func down(ctx context.Context, c *call) error {
	if err := stopDaemon(ctx, c); err != nil {
		return err
	}
	n, err := process.StopPods(ctx, c.config)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "stopped %d pods; data stays in %s\n", n, c.config.DataDir)
	return nil
}

func stopDaemon(ctx context.Context, c *call) error {
	pid := process.Running(c.config)
	if pid == 0 {
		fmt.Fprintln(c.out, "no daemon runs")
		return nil
	}
	if err := process.StopDaemon(ctx, c.config); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "stopped the daemon (process %d)\n", pid)
	return nil
}

func reset(ctx context.Context, c *call) error {
	if !c.flags["yes"] {
		return hinted{fmt.Errorf("reset deletes %s with all data of the cluster", c.config.DataDir), "say proa reset --yes if that is meant"}
	}
	if err := down(ctx, c); err != nil {
		return err
	}
	if err := dropKubeconfig(c); err != nil {
		return err
	}
	if err := process.Remove(ctx, c.config); err != nil {
		return err
	}
	left, err := process.Leftovers(c.config)
	if err != nil {
		return err
	}
	for _, l := range left {
		fmt.Fprintf(c.out, "left: %s\n", l)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d things are left", len(left))
	}
	fmt.Fprintln(c.out, "nothing is left: no process, mount, network namespace, interface, firewall table, cgroup or file")
	return nil
}
