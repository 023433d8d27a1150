package cli

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"proa.dev/process"
)

func image(ctx context.Context, c *call) error {
	if len(c.args) == 0 {
		return usageError{"image: say import, ls or rm"}
	}
	if process.Running(c.config) == 0 {
		return hinted{fmt.Errorf("no daemon runs"), "start one with proa up"}
	}
	admin := process.OpenAdmin(c.config)
	switch verb, rest := c.args[0], c.args[1:]; {
	case verb == "import" && len(rest) > 0:
		for _, path := range rest {
			if err := importFile(ctx, c, admin, path); err != nil {
				return err
			}
		}
		return nil
	case verb == "ls" && len(rest) == 0:
		return listImages(ctx, c, admin)
	case verb == "rm" && len(rest) > 0:
		for _, name := range rest {
			if err := admin.RemoveImage(ctx, name); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
		return nil
	}
	return usageError{"image: import FILE..., ls, or rm NAME..."}
}

func importFile(ctx context.Context, c *call, admin process.Admin, path string) error {
	began := time.Now()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := admin.Import(ctx, f)
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	for _, name := range names {
		fmt.Fprintf(c.out, "  imported %s (%s)\n", name, round(time.Since(began)))
	}
	return nil
}

func listImages(ctx context.Context, c *call, admin process.Admin) error {
	list, err := admin.Images(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tSIZE")
	for _, i := range list {
		fmt.Fprintf(w, "%s\t%.19s\t%.1f MB\n", i.Name, i.ID, float64(i.Size)/1e6)
	}
	return w.Flush()
}
