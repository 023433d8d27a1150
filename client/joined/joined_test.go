package joined_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/client/joined"
	"proa.dev/client/remote"
	"proa.dev/object"
)

// others is what a test says of other servers.
type others struct {
	mu      sync.Mutex // guards all below
	list    []object.Resource
	unknown []schema.GroupVersion
	changed chan struct{}
}

func (o *others) Resources() ([]object.Resource, []schema.GroupVersion) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list, o.unknown
}

func (o *others) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

func (o *others) say(list []object.Resource, unknown ...schema.GroupVersion) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list, o.unknown = list, unknown
	close(o.changed)
	o.changed = make(chan struct{})
}

// until waits for something that the view shows with a change of resources.
func until(t *testing.T, v *joined.View, what string, ok func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		changed := v.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: not within 20s", what)
		}
	}
}

var configMaps = object.Resource{GroupVersionResource: object.ResourceOf[core.ConfigMap](), Kind: "ConfigMap", Namespaced: true}

// Two servers have ConfigMaps of one name: those of the other one are seen while it says that it serves them.
func TestResourcesOfOthers(t *testing.T) {
	here, there := apitest.Start(t), apitest.Start(t)
	key := object.Key{Namespace: "default", Name: "c"}
	for where, s := range map[string]*apitest.Server{"here": here, "there": there} {
		cm := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Data: map[string]string{"where": where}}
		if _, err := client.Create(t.Context(), s.Client, cm); err != nil {
			t.Fatal(err)
		}
	}
	o := &others{changed: make(chan struct{})}
	v := joined.New(joined.Config{View: here.View(), Others: o, Log: slog.New(slog.DiscardHandler),
		Connect: func() (*remote.Client, error) { return remote.New(remote.Config{Host: there.URL}) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	where := func() string {
		cm, ok := client.Lookup[core.ConfigMap](v, key)
		if !ok {
			return ""
		}
		return cm.Data["where"]
	}
	if got := where(); got != "here" || v.Unknown() != nil {
		t.Errorf("without others: %q, unknown %v", got, v.Unknown())
	}

	gv := schema.GroupVersion{Group: "toys.example.com", Version: "v1"}
	o.say([]object.Resource{configMaps}, gv)
	until(t, v, "the objects of the other server", func() bool { return where() == "there" })
	if got := v.Unknown(); !slices.Equal(got, []schema.GroupVersion{gv}) {
		t.Errorf("unknown %v, want %v", got, gv)
	}
	if got := len(client.ListOf[core.ConfigMap](v, client.Select{Namespace: "default"})); got != 1 {
		t.Errorf("%d in the list, want 1", got)
	}
	if err := client.Delete[core.ConfigMap](t.Context(), v.Client(here.Client), key, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get[core.ConfigMap](t.Context(), there.Client, key); err == nil {
		t.Error("the other server has it still")
	}
	if _, err := client.Get[core.ConfigMap](t.Context(), here.Client, key); err != nil {
		t.Error(err)
	}

	ended := make(chan error, 1)
	synced := make(chan struct{})
	go func() {
		ended <- v.Watch(t.Context(), configMaps.GroupVersionResource, func(e client.Event) {
			if e.Type == client.Synced {
				close(synced)
			}
		})
	}()
	<-synced
	o.say(nil)
	if err := <-ended; !errors.Is(err, client.ErrGone) {
		t.Errorf("the watch ended with %v", err)
	}
	until(t, v, "the objects here", func() bool { return where() == "here" && v.Unknown() == nil })
}
