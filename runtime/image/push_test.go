package image_test

import (
	"errors"
	"strings"
	"testing"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/image"
	"proa.dev/runtime/registry/registrytest"
)

func TestPush(t *testing.T) {
	roottest.Need(t, "layers are unpacked with their owners")
	reg := registrytest.New(t, false)
	reg.User, reg.Password, reg.Bearer = "alice", "secret", true
	auth := &image.Auth{Username: "alice", Password: "secret"}
	s := open(t, t.TempDir())
	importImage(t, s, webSpec("v1"))
	name := reg.Host() + "/team/web:v1"
	if err := s.Tag("proa/web:v1", name); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), name, nil, nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("Push without credentials: %v", err)
	}
	var last image.Progress
	if err := s.Push(t.Context(), name, auth, func(p image.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total == 0 {
		t.Errorf("last progress %+v", last)
	}
	before := len(reg.Requests())
	if err := s.Push(t.Context(), name, auth, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range reg.Requests()[before:] {
		if strings.HasPrefix(r, "POST ") {
			t.Errorf("a blob that is there was sent again: %s", r)
		}
	}
	other := open(t, t.TempDir())
	id, err := other.Pull(t.Context(), name, auth, nil)
	im, _ := s.Get(name)
	if err != nil || id != im.ID {
		t.Errorf("Pull of what was pushed = %s, %v; want %s", id, err, im.ID)
	}
	if err := s.Push(t.Context(), "absent", nil, nil); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("Push of an absent image: %v", err)
	}
}
