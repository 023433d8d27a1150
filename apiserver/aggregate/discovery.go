package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/discovery"
	"proa.dev/kinds"
)

// known is what a backend was last known to serve.
type known struct {
	resources []apidiscovery.APIResourceDiscovery
	etag      string // of the document that said so; "": none
	at        time.Time
	stale     bool // it did not answer since
}

// maxDocument bounds what is read of another server: discovery and OpenAPI.
const maxDocument = 64 << 20

// Discovery is the handler of /api and /apis: what list says, merged with what others serve.
func (a *Aggregator) Discovery(list func() []*kinds.Kind) http.Handler {
	a.list.Store(&list)
	return discovery.NewMerged(list, a.remotes)
}

func (a *Aggregator) remotes() []discovery.Remote {
	var out []discovery.Remote
	for gv, b := range a.backends() {
		spec := &b.service.Load().Spec
		r := discovery.Remote{GroupVersion: gv, Priority: discovery.Priority{Group: spec.GroupPriorityMinimum, Version: spec.VersionPriority}, Stale: true}
		if k := b.known.Load(); k != nil {
			r.Resources, r.Stale = k.resources, k.stale
		}
		out = append(out, r)
	}
	return out
}

// outdated says that the backend cannot be asked what it serves.
func (b *backend) outdated() {
	if k := b.known.Load(); k != nil && !k.stale {
		next := *k
		next.stale, next.at = true, time.Time{}
		b.known.Store(&next)
		b.announce()
	}
}

// refresh asks what the backend serves, if that has not been done lately.
func (b *backend) refresh(ctx context.Context) error {
	old := b.known.Load()
	if old != nil && !old.stale && time.Since(old.at) < refreshEvery {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	next, err := b.fetch(ctx, old)
	if err != nil {
		b.outdated()
		return err
	}
	b.known.Store(next)
	if old == nil || old.stale || !equality.Semantic.DeepEqual(old.resources, next.resources) {
		b.announce()
	}
	return nil
}

func (b *backend) fetch(ctx context.Context, old *known) (*known, error) {
	root := "/apis"
	if b.version.Group == "" {
		root = "/api"
	}
	h := http.Header{"Accept": {"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"}}
	if old != nil && old.etag != "" {
		h.Set("If-None-Match", old.etag)
	}
	began := time.Now()
	resp, err := b.ask(ctx, root, h)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && old != nil:
		return &known{resources: old.resources, etag: old.etag, at: began}, nil
	case resp.StatusCode == http.StatusOK && strings.Contains(resp.Header.Get("Content-Type"), "as=APIGroupDiscoveryList"):
		var all apidiscovery.APIGroupDiscoveryList
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&all); err != nil {
			return nil, fmt.Errorf("read discovery of %s: %w", b.version, err)
		}
		return &known{resources: b.among(&all), etag: resp.Header.Get("Etag"), at: began}, nil
	}
	return b.fetchOlder(ctx, began)
}

// among are the resources of this version in everything that its server serves.
func (b *backend) among(all *apidiscovery.APIGroupDiscoveryList) []apidiscovery.APIResourceDiscovery {
	for _, g := range all.Items {
		for _, v := range g.Versions {
			if g.Name == b.version.Group && v.Version == b.version.Version {
				return v.Resources
			}
		}
	}
	return nil
}

// fetchOlder is for servers that have the older form only.
func (b *backend) fetchOlder(ctx context.Context, began time.Time) (*known, error) {
	path := "/apis/" + b.version.String()
	if b.version.Group == "" {
		path = "/api/" + b.version.Version
	}
	resp, err := b.ask(ctx, path, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for the resources of %s: %s", b.version, resp.Status)
	}
	var list metav1.APIResourceList
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&list); err != nil {
		return nil, fmt.Errorf("read the resources of %s: %w", b.version, err)
	}
	return &known{resources: newer(b.version, list.APIResources), at: began}, nil
}

// newer is the newer form of resources in the older one.
func newer(gv schema.GroupVersion, list []metav1.APIResource) []apidiscovery.APIResourceDiscovery {
	var out []apidiscovery.APIResourceDiscovery
	at := map[string]int{}
	for _, r := range list {
		kind := &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
		if kind.Version == "" {
			kind.Group, kind.Version = gv.Group, gv.Version
		}
		parent, sub, isSub := strings.Cut(r.Name, "/")
		i, seen := at[parent]
		if !seen {
			i = len(out)
			at[parent] = i
			out = append(out, apidiscovery.APIResourceDiscovery{Resource: parent, Scope: apidiscovery.ScopeCluster})
		}
		d := &out[i]
		if r.Namespaced {
			d.Scope = apidiscovery.ScopeNamespace
		}
		if isSub {
			d.Subresources = append(d.Subresources, apidiscovery.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind, Verbs: r.Verbs})
			continue
		}
		d.ResponseKind, d.SingularResource, d.Verbs = kind, r.SingularName, r.Verbs
		d.ShortNames, d.Categories = r.ShortNames, r.Categories
	}
	return out
}
