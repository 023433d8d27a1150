package cli

import (
	"context"
	"fmt"
	"time"

	"proa.dev/process"
)

// secrets rewrites what is in the store with the key that is first in the encryption configuration. It may be ended and begun again.
func secrets(ctx context.Context, c *call) error {
	if len(c.args) == 0 || c.args[0] != "reencrypt" {
		return usageError{"secrets: say reencrypt, and which resources if not all: secrets, configmaps, pandas.bears.example"}
	}
	if process.Running(c.config) == 0 {
		return hinted{fmt.Errorf("no daemon runs"), "start one with proa up"}
	}
	began := time.Now()
	var last process.Reencrypted
	err := process.OpenAdmin(c.config).Reencrypt(ctx, c.args[1:], func(r process.Reencrypted) {
		last = r
		if !r.Done {
			fmt.Fprintf(c.out, "  %d looked at, %d rewritten, up to %s\n", r.Seen, r.Written, r.Last)
		}
	})
	if err != nil {
		return hinted{fmt.Errorf("reencrypt: %w", err), "run it again: what is done stays done"}
	}
	fmt.Fprintf(c.out, "%d objects looked at, %d rewritten (%s)\n", last.Seen, last.Written, round(time.Since(began)))
	return nil
}
