package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"proa.dev/process"
)

func status(ctx context.Context, c *call) error {
	s, err := process.ReadStatus(ctx, c.config)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	if s.PID == 0 {
		fmt.Fprintln(w, "daemon\tnot running")
	} else {
		fmt.Fprintf(w, "daemon\trunning, process %d, %d MB resident\n", s.PID, s.Resident>>20)
		fmt.Fprintf(w, "API\t%s, %s\n", s.Server, s.API)
	}
	for _, n := range s.Nodes {
		fmt.Fprintf(w, "node %s\t%s\n", n.Name, n.Ready)
	}
	fmt.Fprintf(w, "pods\t%d on this machine, %d containers\n", s.Pods, s.Containers)
	fmt.Fprintf(w, "data\t%s\n", c.config.DataDir)
	return nil
}
