package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proa.dev/config"
)

func TestImageWords(t *testing.T) {
	for words, want := range map[string]string{
		"":          "image: say ls, pull, push, import, export, tag or rm",
		"prune":     `image: there is no "prune"; say ls, pull, push, import, export, tag or rm`,
		"ls a":      "image ls",
		"pull":      "image pull NAME...: which image?",
		"tag a":     "image tag NAME NEW",
		"tag a b c": "image tag NAME NEW",
	} {
		err := image(context.Background(), &call{config: &config.Config{RunDir: t.TempDir()}, args: strings.Fields(words)})
		var wrong usageError
		if !errors.As(err, &wrong) || !strings.HasPrefix(wrong.text, want) {
			t.Errorf("%q: got %v, want %s", words, err, want)
		}
	}
}

func TestLoginFor(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(`{"auths":{"a.example":{"username":"u"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := loginFor("a.example/web:1"); err != nil || e == nil || e.Username != "u" {
		t.Errorf("got %+v, %v", e, err)
	}
	if e, err := loginFor("b.example/web:1"); err != nil || e != nil {
		t.Errorf("another registry: got %+v, %v", e, err)
	}
	if err := os.WriteFile(file, []byte(`{"auths":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loginFor("a.example/web:1"); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a broken file: %v; want its name", err)
	}
}
