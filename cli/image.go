package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"proa.dev/kit/dockerauth"
	"proa.dev/process"
)

// imageVerb is one word after "proa image".
type imageVerb struct {
	name        string
	least, most int    // how many arguments; most -1: any number
	args, want  string // for the usage line
	run         func(ctx context.Context, c *call, admin process.Admin, names []string) error
}

func imageVerbs() []imageVerb {
	return []imageVerb{
		{"ls", 0, 0, "", "", listImages},
		{"pull", 1, -1, "NAME...", "which image?", pullImages},
		{"push", 1, -1, "NAME...", "which image?", pushImages},
		{"import", 1, -1, "FILE...", "which archive? - is the standard input", importFiles},
		{"export", 1, -1, "NAME... [--output=FILE]", "which image?", exportImages},
		{"tag", 2, 2, "NAME NEW", "an image, and the name that it gets besides", tagImage},
		{"rm", 1, -1, "NAME...", "which image?", removeImages},
	}
}

func image(ctx context.Context, c *call) error {
	if len(c.args) == 0 {
		return usageError{"image: say " + imageUsage()}
	}
	for _, v := range imageVerbs() {
		if v.name != c.args[0] {
			continue
		}
		names := c.args[1:]
		if len(names) < v.least || v.most >= 0 && len(names) > v.most {
			return usageError{strings.TrimSuffix(fmt.Sprintf("image %s %s: %s", v.name, v.args, v.want), " : ")}
		}
		if process.Running(c.config) == 0 {
			return hinted{errors.New("no daemon runs"), "start one with proa up"}
		}
		return v.run(ctx, c, process.OpenAdmin(c.config), names)
	}
	return usageError{fmt.Sprintf("image: there is no %q; say %s", c.args[0], imageUsage())}
}

// imageUsage is "ls, pull ... or rm".
func imageUsage() string {
	var names []string
	for _, v := range imageVerbs() {
		names = append(names, v.name)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

func importFiles(ctx context.Context, c *call, admin process.Admin, paths []string) error {
	for _, path := range paths {
		if err := importFile(ctx, c, admin, path); err != nil {
			return fmt.Errorf("import %s: %w", path, err)
		}
	}
	return nil
}

func importFile(ctx context.Context, c *call, admin process.Admin, path string) error {
	began := time.Now()
	in := os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return errors.Unwrap(err) // the path is said already
		}
		defer f.Close()
		in = f
	}
	names, err := admin.Import(ctx, in)
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintf(c.out, "  imported %s (%s)\n", name, round(time.Since(began)))
	}
	return nil
}

// exportImages writes an archive to --output or the standard output. A file is there whole or not at all.
func exportImages(ctx context.Context, c *call, admin process.Admin, names []string) error {
	path := c.values["output"]
	if path == "" || path == "-" {
		if terminal(c.out) {
			return usageError{"image export: an archive is nothing for a terminal; say --output=FILE"}
		}
		return admin.Export(ctx, c.out, names)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".proa-export-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it has another name by then, if all went well
	defer f.Close()
	if err := admin.Export(ctx, f, names); err != nil {
		return fmt.Errorf("export to %s: %w", path, err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func pullImages(ctx context.Context, c *call, admin process.Admin, names []string) error {
	return transferImages(c, names, "pull", func(name string, auth *dockerauth.Entry, tell func(process.Transfer)) (string, error) {
		id, err := admin.Pull(ctx, name, auth, tell)
		return fmt.Sprintf("pulled %s as %.19s", name, id), err
	})
}

func pushImages(ctx context.Context, c *call, admin process.Admin, names []string) error {
	return transferImages(c, names, "push", func(name string, auth *dockerauth.Entry, tell func(process.Transfer)) (string, error) {
		return "pushed " + name, admin.Push(ctx, name, auth, tell)
	})
}

func transferImages(c *call, names []string, verb string, do func(string, *dockerauth.Entry, func(process.Transfer)) (string, error)) error {
	for _, name := range names {
		auth, err := loginFor(name)
		if err != nil {
			return err
		}
		began := time.Now()
		var size int64
		said, err := do(name, auth, func(t process.Transfer) {
			size = t.Total
			if terminal(c.out) {
				fmt.Fprintf(c.out, "\r\033[K  %s %s: %.1f of %.1f MB", verb, name, float64(t.Done)/1e6, float64(t.Total)/1e6)
			}
		})
		if terminal(c.out) {
			fmt.Fprint(c.out, "\r\033[K")
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "  %s (%.1f MB, %s)\n", said, float64(size)/1e6, round(time.Since(began)))
	}
	return nil
}

// loginFor is what docker login or podman login has left for an image's registry; nil: nothing.
func loginFor(image string) (*dockerauth.Entry, error) {
	for _, path := range loginFiles() {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var syntax *json.SyntaxError
		entries, perr := dockerauth.Parse(b)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the credentials for registries: %w", err)
		case errors.As(perr, &syntax):
			return nil, fmt.Errorf("read the credentials for registries: %s, byte %d: %w", path, syntax.Offset, perr)
		case perr != nil:
			return nil, fmt.Errorf("read the credentials for registries: %s: %w", path, perr)
		}
		if e, ok := dockerauth.Best(entries, image); ok {
			return &e, nil
		}
	}
	return nil, nil
}

// loginFiles are where the tools of others keep credentials, the first first.
func loginFiles() []string {
	var out []string
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		out = append(out, filepath.Join(dir, "config.json"))
	} else if home, err := os.UserHomeDir(); err == nil {
		out = append(out, filepath.Join(home, ".docker", "config.json"))
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		out = append(out, filepath.Join(dir, "containers", "auth.json"))
	}
	return append(out, "/run/containers/0/auth.json")
}

func tagImage(ctx context.Context, _ *call, admin process.Admin, names []string) error {
	if err := admin.TagImage(ctx, names[0], names[1]); err != nil {
		return fmt.Errorf("tag %s: %w", names[0], err)
	}
	return nil
}

func removeImages(ctx context.Context, _ *call, admin process.Admin, names []string) error {
	for _, name := range names {
		if err := admin.RemoveImage(ctx, name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func listImages(ctx context.Context, c *call, admin process.Admin, _ []string) error {
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

// terminal says whether a person reads along.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
