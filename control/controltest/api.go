package controltest

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// API is objects in memory; Client and View are the two ways to it.
type API struct {
	t testing.TB

	mu       sync.Mutex // guards all below
	rev      int64
	objects  map[client.Resource]map[object.Key]entry
	watchers map[*watcher]bool
	order    int // counts what only orders memory: see Sleep
	served   map[client.Resource]object.Resource
	writes   []string
	refuse   func(verb string, t client.Target, o object.Object) error

	asking sync.Mutex // held while refuse runs: one at a time
}

// entry is an object and a copy from when it was stored, to find out who changes frozen memory.
type entry struct{ o, sealed object.Object }

// New makes an empty API. When the test ends it fails if anybody changed an object that was handed out.
func New(t testing.TB) *API {
	a := &API{
		t: t, objects: map[client.Resource]map[object.Key]entry{}, watchers: map[*watcher]bool{},
		served: map[client.Resource]object.Resource{},
	}
	t.Cleanup(a.checkFrozen)
	return a
}

func (a *API) checkFrozen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for r, objs := range a.objects {
		for k, e := range objs {
			if !reflect.DeepEqual(e.o, e.sealed) {
				a.t.Errorf("%s %s: somebody changed a frozen object", r.Resource, k)
			}
		}
	}
}

// Refuse makes every write ask fn first, one at a time; a non-nil answer is the answer to the write. verb is create, update, patch or
// delete.
func (a *API) Refuse(fn func(verb string, t client.Target, o object.Object) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse = fn
}

// Writes is what was written since the last call: "create pods default/web-x", "update deployments/status default/web". Put is not
// in it, nor are events.
func (a *API) Writes() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.writes
	a.writes = nil
	return w
}

// Put stores objects as they are, status and all, as whatever part of the cluster is not in the test would have: it fills in what is
// missing of uid, creation time and resourceVersion.
func (a *API) Put(objs ...object.Object) {
	a.t.Helper()
	for _, o := range objs {
		a.mu.Lock()
		r, key := a.resource(o), object.KeyOf(o)
		old := a.objects[r][key].o
		o = o.DeepCopyObject().(object.Object)
		if old != nil {
			o.SetUID(old.GetUID())
			o.SetCreationTimestamp(old.GetCreationTimestamp())
		}
		a.complete(o)
		a.store(r, o, old)
		a.mu.Unlock()
	}
}

// Remove takes an object away, finalizers or not.
func (a *API) Remove(o object.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.resource(o)
	if old := a.objects[r][object.KeyOf(o)].o; old != nil {
		a.remove(r, old)
	}
}

func (a *API) resource(o object.Object) client.Resource {
	gvk := object.KindOf(o)
	r := object.ResourceFor(gvk)
	if a.objects[r] == nil {
		a.objects[r] = map[object.Key]entry{}
		a.served[r] = object.Resource{GroupVersionResource: r, Kind: gvk.Kind, Namespaced: !clusterScoped(gvk.Kind)}
	}
	return r
}

func clusterScoped(kind string) bool {
	switch kind {
	case "Namespace", "Node", "PersistentVolume", "StorageClass", "PriorityClass", "ClusterRole", "ClusterRoleBinding":
		return true
	}
	return false
}

// versioned are the kinds of which an update must say which version it changes.
func versioned(kind string) bool {
	switch kind {
	case "Lease", "RuntimeClass", "PodDisruptionBudget", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttachment":
		return true
	}
	return false
}

func (a *API) complete(o object.Object) {
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", a.rev+1)))
	}
	if ts := o.GetCreationTimestamp(); ts.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	}
}

// store gives o the next revision and tells the watchers. a.mu is held.
func (a *API) store(r client.Resource, o, old object.Object) {
	a.rev++
	o.SetResourceVersion(strconv.FormatInt(a.rev, 10))
	a.objects[r][object.KeyOf(o)] = entry{o, o.DeepCopyObject().(object.Object)}
	e := client.Event{Type: client.Added, Object: o}
	if old != nil {
		e.Type, e.Old = client.Modified, old
	}
	a.tell(r, e)
}

func (a *API) remove(r client.Resource, old object.Object) {
	a.rev++
	delete(a.objects[r], object.KeyOf(old))
	last := old.DeepCopyObject().(object.Object)
	last.SetResourceVersion(strconv.FormatInt(a.rev, 10))
	a.tell(r, client.Event{Type: client.Deleted, Object: last, Old: old})
}

func (a *API) tell(r client.Resource, e client.Event) {
	for w := range a.watchers {
		if w.r == r {
			w.push(e)
		}
	}
}

// Serve makes resources known to View.Resources although no object of them exists yet.
func (a *API) Serve(examples ...object.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range examples {
		a.resource(o)
	}
}

// Run starts a component and stops it when the test ends, which fails if the component ended before or with another error than its
// context's. Inside synctest, the component belongs to the bubble.
func Run(t testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		early := len(done) > 0
		cancel()
		if err := <-done; early || (err != nil && ctx.Err() != err) {
			t.Errorf("the component ended early: %v, with %v", early, err)
		}
	})
}

// Sleep lets d go by inside synctest, and then everything settle. What the test read and wrote before is done before anybody else goes on,
// and what others did is seen by the caller, so that a test and the hooks it hands out may share variables.
func (a *API) Sleep(d time.Duration) {
	a.mu.Lock()
	a.order++
	a.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
}
