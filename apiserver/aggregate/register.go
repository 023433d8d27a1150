package aggregate

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"proa.dev/apiserver/discovery"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// The label of APIServices that the server makes itself. Those of built-in groups are made at the start and may be changed after it;
// those of custom resources follow the definitions.
const (
	managed      = "kube-aggregator.kubernetes.io/automanaged"
	managedStart = "onstart"
	managedOn    = "true"
)

// settle is how long the list of kinds takes at most to follow the definitions.
const settle = time.Second

// registrar makes the APIServices of what this server answers itself.
type registrar struct {
	*Aggregator
	view   client.View
	client client.Client
	bell   chan struct{}

	mu    sync.Mutex
	known bool // the APIServices that there are have been told; guarded by mu
	began bool // those of built-in groups have been made; used by run's goroutine
}

func newRegistrar(a *Aggregator, v client.View, c client.Client) *registrar {
	return &registrar{Aggregator: a, view: v, client: c, bell: make(chan struct{}, 1)}
}

func (r *registrar) synced() {
	r.mu.Lock()
	r.known = true
	r.mu.Unlock()
	r.ring()
}

func (r *registrar) ring() {
	select {
	case r.bell <- struct{}{}:
	default: // somebody has rung already
	}
}

// changed has an APIService looked at that this server makes as long as it serves the version.
func (r *registrar) changed(s *registration.APIService) {
	if s.Labels[managed] == managedOn {
		r.ring()
	}
}

// definitions is the resource whose objects say which custom resources there are.
var definitions = client.Resource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// run works until ctx ends.
func (r *registrar) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		// Where there are no custom resources the watch ends at once, and there is nothing to hear of.
		_ = r.view.Watch(ctx, definitions, func(client.Event) { r.ring() })
	})
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.bell:
			// The list of kinds may hear of a definition later than we do.
			again.Reset(settle)
		case <-again.C:
		}
		for retry := 100 * time.Millisecond; ; retry = min(2*retry, 30*time.Second) {
			err := r.reconcile(ctx)
			if err == nil {
				break
			}
			r.config.Log.Debug("register versions", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retry):
			}
		}
	}
}

// reconcile makes what is missing and takes away what is not served any more.
func (r *registrar) reconcile(ctx context.Context) error {
	r.mu.Lock()
	known := r.known
	r.mu.Unlock()
	list := r.list.Load()
	if !known || list == nil {
		return nil
	}
	want := map[schema.GroupVersion]*registration.APIService{}
	for _, k := range (*list)() {
		want[k.GroupVersion()] = desired(k.GroupVersion())
		for i := range k.Also {
			gv := kinds.ParsePath(k.Also[i].Path).GroupVersion()
			want[gv] = desired(gv)
		}
	}
	delete(want, registration.SchemeGroupVersion) // the one that is not registered: without it nothing could be
	for _, gv := range slices.SortedFunc(maps.Keys(want), byName) {
		if err := r.ensure(ctx, want[gv]); err != nil {
			return err
		}
	}
	for _, s := range client.ListOf[registration.APIService](r.view, client.Select{}) {
		label := s.Labels[managed]
		stale := label == managedOn || label == managedStart && !r.began
		if stale && want[schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}] == nil {
			if err := client.Delete[registration.APIService](ctx, r.client, object.KeyOf(s), s.UID); err != nil && !passes(err) {
				return err
			}
		}
	}
	r.began = true
	return nil
}

func byName(a, b schema.GroupVersion) int {
	if a.Group != b.Group {
		if a.Group < b.Group {
			return -1
		}
		return 1
	}
	if a.Version < b.Version {
		return -1
	}
	return 1
}

// ensure makes or mends one APIService. Those that somebody else manages stay as they are.
func (r *registrar) ensure(ctx context.Context, want *registration.APIService) error {
	now, ok := client.Lookup[registration.APIService](r.view, object.Key{Name: want.Name})
	label := want.Labels[managed]
	switch {
	case r.began && label == managedStart:
		return nil
	case !ok:
		_, err := client.Create(ctx, r.client, want)
		if passes(err) {
			return nil
		}
		return err
	case now.Labels[managed] == "" || same(now.Spec, want.Spec):
		return nil
	case now.Spec.Service != nil && discovery.Optional(want.Spec.Group):
		return nil // somebody else has been put in our place
	}
	next := object.Clone(now)
	next.Spec = want.Spec
	_, err := client.Update(ctx, r.client, next)
	if passes(err) {
		return nil
	}
	return err
}

func same(a, b registration.APIServiceSpec) bool {
	return a.Service == nil && a.Group == b.Group && a.Version == b.Version && a.GroupPriorityMinimum == b.GroupPriorityMinimum &&
		a.VersionPriority == b.VersionPriority && !a.InsecureSkipTLSVerify && len(a.CABundle) == 0
}

// passes says whether an error means that somebody else was faster: there will be an event.
func passes(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.IsConflict(err)
}

// desired is the APIService of a version that this server answers itself.
func desired(gv schema.GroupVersion) *registration.APIService {
	p, builtin := discovery.PriorityOf(gv)
	label := managedOn
	if builtin {
		label = managedStart
	}
	return &registration.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{managed: label}},
		Spec: registration.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.Group,
			VersionPriority: p.Version},
	}
}
