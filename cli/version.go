package cli

import (
	"context"
	"fmt"
	"runtime"

	"proa.dev/process"
)

func version(_ context.Context, c *call) error {
	fmt.Fprintf(c.out, "proa %s (Kubernetes %s, %s, %s/%s)\n", process.Version, process.Kubernetes, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
