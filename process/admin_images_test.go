package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/config"
	"proa.dev/kit/dockerauth"
	"proa.dev/kit/roottest"
	"proa.dev/runtime/archive"
	"proa.dev/runtime/registry/registrytest"
)

// serveImages is a daemon of which nothing runs but the private socket, with an empty image store.
func serveImages(t *testing.T) Admin {
	t.Helper()
	roottest.Need(t, "layers are unpacked with their owners")
	c := &config.Config{RunDir: t.TempDir(), DataDir: t.TempDir()}
	store, err := openImages(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a := &admin{path: adminPath(c), steps: newSteps(time.Now(), 0), images: nodeImages{store}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	limit, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if _, err = OpenAdmin(c).Images(limit); err == nil {
			return OpenAdmin(c)
		}
		if limit.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestImageCommands takes an image round: archive, node, registry, node, archive.
func TestImageCommands(t *testing.T) {
	reg := registrytest.New(t, false)
	reg.User, reg.Password = "alice", "secret"
	alice := &dockerauth.Entry{Username: "alice", Password: "secret"}
	admin, ctx := serveImages(t), t.Context()

	var tar bytes.Buffer
	if _, err := archive.Build(&tar, archive.Spec{Names: []string{"docker.io/test/web:1"}, Config: ocispec.ImageConfig{Cmd: []string{"/web"}},
		Layers: [][]archive.File{{{Path: "web", Mode: 0o755, Content: []byte("web")}}}}); err != nil {
		t.Fatal(err)
	}
	if names, err := admin.Import(ctx, &tar); err != nil || len(names) != 1 || names[0] != "docker.io/test/web:1" {
		t.Fatalf("import: %v, %v", names, err)
	}
	theirs := reg.Host() + "/team/web:2"
	if err := admin.TagImage(ctx, "test/web:1", theirs); err != nil {
		t.Fatal(err)
	}
	if err := admin.Push(ctx, theirs, nil, func(Transfer) {}); err == nil {
		t.Error("pushed without credentials")
	}
	if err := admin.Push(ctx, theirs, alice, func(Transfer) {}); err != nil {
		t.Fatal(err)
	}
	before, err := admin.Images(ctx)
	if err != nil || len(before) != 2 {
		t.Fatalf("images: %v, %v; want two names", before, err)
	}
	for _, i := range before {
		if err := admin.RemoveImage(ctx, i.Name); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := admin.Images(ctx); err != nil || len(left) != 0 {
		t.Fatalf("after rm: %v, %v", left, err)
	}
	if _, err := admin.Pull(ctx, theirs, &dockerauth.Entry{Username: "alice", Password: "guess"}, func(Transfer) {}); err == nil {
		t.Error("pulled with a wrong password")
	}
	id, err := admin.Pull(ctx, theirs, alice, func(Transfer) {})
	if err != nil || id != before[0].ID {
		t.Fatalf("pull: %s, %v; want %s", id, err, before[0].ID)
	}
	tar.Reset()
	if err := admin.Export(ctx, &tar, []string{theirs}); err != nil {
		t.Fatal(err)
	}
	if err := admin.RemoveImage(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if names, err := admin.Import(ctx, &tar); err != nil || len(names) != 1 || names[0] != theirs {
		t.Errorf("import of the export: %v, %v", names, err)
	}
}

func TestImageCommandsThatFail(t *testing.T) {
	admin, ctx := serveImages(t), t.Context()
	var out bytes.Buffer
	for what, err := range map[string]error{
		"export": admin.Export(ctx, &out, []string{"none:1"}),
		"tag":    admin.TagImage(ctx, "none:1", "other:1"),
		"rm":     admin.RemoveImage(ctx, "none:1"),
		"push":   admin.Push(ctx, "none:1", nil, func(Transfer) {}),
	} {
		if err == nil || !strings.Contains(err.Error(), "none:1") {
			t.Errorf("%s: %v; want an error that names the image", what, err)
		}
	}
	if out.Len() != 0 {
		t.Errorf("an export that failed wrote %d bytes", out.Len())
	}
}

// half is images of which an export breaks off.
type half struct{ foreignImages }

func (half) Export(_ context.Context, w io.Writer, _ ...string) error {
	_, err := w.Write(make([]byte, 1<<20))
	return errors.Join(err, errors.New("the disk is gone"))
}

// Half an archive does not look like a whole one.
func TestExportThatBreaksOff(t *testing.T) {
	c := &config.Config{RunDir: t.TempDir()}
	a := &admin{path: filepath.Join(c.RunDir, "admin.sock"), steps: newSteps(time.Now(), 0), images: half{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = a.Run(ctx) }() // it ends with ctx, and says so
	limit, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var out bytes.Buffer
		err := OpenAdmin(c).Export(limit, &out, []string{"web:1"})
		if out.Len() > 0 {
			if err == nil {
				t.Error("half an archive was reported as whole")
			}
			return
		}
		if limit.Err() != nil {
			t.Fatal(err)
		}
	}
}
