package images_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/image"
	"proa.dev/test/images"
)

func TestDebian(t *testing.T) {
	roottest.Need(t, "files have owners, and the image is tried with chroot")
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get: the images are made of Debian packages")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	store, err := image.Open(image.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		packages []string
		command  []string
		want     string
	}{
		{"docker.io/test/redis:1", []string{"redis-server"}, []string{"/usr/bin/redis-server", "--version"}, "Redis server v="},
		{"docker.io/test/nginx:1", []string{"nginx-light"}, []string{"/usr/sbin/nginx", "-v"}, "nginx version: nginx/"},
		{"docker.io/test/busybox:1", []string{"busybox-static"}, []string{"/bin/sh", "-c", "seq 3 | tr -d '\n'; id -u nobody"}, "12365534"},
	} {
		path, err := images.Debian(ctx, dir, c.name, c.packages...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		again, err := images.Debian(ctx, dir, c.name, c.packages...)
		if err != nil || again != path {
			t.Errorf("%s: made again as %s, %v; want %s", c.name, again, err, path)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Import(ctx, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		// The image has one layer, so that its directory is a whole root file system.
		lower, release, err := store.View(ctx, c.name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: lower[0]}
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v says %q, %v; want %q", c.name, c.command, out, err, c.want)
		}
		release()
	}
}
