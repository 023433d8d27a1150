package remote

import (
	"context"
	"strings"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
)

// heard is what a Follow told last.
type heard struct {
	mu   sync.Mutex
	last string
	n    int
}

func (h *heard) take(all []object.Object, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	if err != nil {
		h.last = "refused: " + err.Error()
		return
	}
	var parts []string
	for _, o := range all {
		parts = append(parts, o.GetName()+"="+o.(*core.ConfigMap).Data["k"])
	}
	h.last = strings.Join(parts, " ")
}

func (h *heard) is(want string) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.n > 0 && h.last == want
	}
}

func (h *heard) says(want string) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return strings.HasPrefix(h.last, "refused: ") && strings.Contains(h.last, want)
	}
}

// follow follows until the test ends.
func follow(t *testing.T, c *Client, namespace, fields string) *heard {
	h := &heard{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Follow(ctx, configMaps().GroupVersionResource, namespace, fields, h.take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	return h
}

// change gives the ConfigMap a another value.
func change(t *testing.T, c client.Client, value string) {
	t.Helper()
	o, err := client.Get[core.ConfigMap](t.Context(), c, object.Key{Namespace: "default", Name: "a"})
	if err == nil {
		o = object.Clone(o)
		o.Data["k"] = value
		_, err = client.Update(t.Context(), c, o)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFollow follows one object through its life, and through one of the server's absences.
func TestFollow(t *testing.T) {
	api := apitest.Start(t)
	d := newDoor(t, api.URL)
	c := newClient(t, Config{Host: d.URL})
	h := follow(t, c, "default", "metadata.name=a")
	waitFor(t, "nothing", h.is(""))
	put(t, api.Client, "b", "1")
	put(t, api.Client, "a", "1")
	waitFor(t, "a", h.is("a=1"))
	change(t, api.Client, "2")
	waitFor(t, "its change", h.is("a=2"))

	d.shut.Store(true)
	d.CloseClientConnections()
	change(t, api.Client, "3")
	h.mu.Lock()
	before := h.n
	h.mu.Unlock()
	d.shut.Store(false)
	waitFor(t, "what was missed", h.is("a=3"))
	h.mu.Lock()
	if h.n != before+1 {
		t.Errorf("one change was told %d times", h.n-before)
	}
	h.mu.Unlock()
	if err := client.Delete[core.ConfigMap](t.Context(), api.Client, object.Key{Namespace: "default", Name: "a"}, ""); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its end", h.is(""))
}

// TestFollowRefused: a server that does not want to be asked is asked again, with pauses.
func TestFollowRefused(t *testing.T) {
	api := apitest.Start(t)
	var mu sync.Mutex
	who := "nobody"
	c := newClient(t, Config{Host: api.URL, Token: func() string {
		mu.Lock()
		defer mu.Unlock()
		return who
	}})
	put(t, api.Client, "a", "1")
	h := follow(t, c, "default", "metadata.name=a")
	waitFor(t, "the refusal", h.says("forbidden"))
	mu.Lock()
	who = "bob,system:masters"
	mu.Unlock()
	waitFor(t, "the object", h.is("a=1"))
}
