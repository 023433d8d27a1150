package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/openapi"
	"proa.dev/kinds"
)

// documents are what one backend says about its API. They are asked for when somebody asks for ours, at most once per refreshEvery.
type documents struct {
	mu    sync.Mutex // held while the backend is asked
	at    time.Time
	etag  string // of v2
	v2    map[string]any
	index string // where its OpenAPI 3 document is: path and query; "": nowhere
}

// mergedDocs implements openapi.More.
type mergedDocs struct{ of *Aggregator }

// OpenAPI is the handler of /openapi: what list says, merged with what others serve.
func (a *Aggregator) OpenAPI(list func() []*kinds.Kind) http.Handler {
	a.merged.of = a
	return openapi.NewMerged(list, &a.merged)
}

// sorted are the backends that answer, in the order of their versions.
func (m *mergedDocs) sorted() []*backend {
	all := m.of.backends()
	var out []*backend
	for _, gv := range slices.SortedFunc(maps.Keys(all), byName) {
		if b := all[gv]; isAvailable(b.service.Load()) {
			out = append(out, b)
		}
	}
	return out
}

// Hash implements openapi.More.
func (m *mergedDocs) Hash() string {
	var out strings.Builder
	for _, b := range m.sorted() {
		d := b.documents()
		d.mu.Lock()
		fmt.Fprintf(&out, "%s %s %s\n", b.version, d.etag, d.index)
		d.mu.Unlock()
	}
	return out.String()
}

// Index implements openapi.More.
func (m *mergedDocs) Index() map[string]string {
	out := map[string]string{}
	for _, b := range m.sorted() {
		d := b.documents()
		d.mu.Lock()
		if d.index != "" {
			out[b.path()] = d.index
		}
		d.mu.Unlock()
	}
	return out
}

// Serve implements openapi.More: the other server has the document.
func (m *mergedDocs) Serve(w http.ResponseWriter, r *http.Request, version string) bool {
	if m.of.serving.Load() == nil {
		return false
	}
	gv, err := schema.ParseGroupVersion(strings.TrimPrefix(version, "apis/"))
	b := m.of.backends()[gv]
	if err != nil || b == nil {
		return false
	}
	user, ok := authn.From(r.Context())
	if !ok {
		user = self()
	}
	b.ServeHTTP(w, r.WithContext(authn.With(r.Context(), user)))
	return true
}

// MergeV2 implements openapi.More: the paths of each version, and the definitions of each server.
func (m *mergedDocs) MergeV2(doc map[string]any) {
	for _, b := range m.sorted() {
		d := b.documents()
		d.mu.Lock()
		mergeV2(doc, d.v2, "/"+b.path())
		d.mu.Unlock()
	}
}

// path is the version's path without the slash before it.
func (b *backend) path() string {
	if b.version.Group == "" {
		return "api/" + b.version.Version
	}
	return "apis/" + b.version.String()
}

// documents are those of the backend, asked for now if they are old.
func (b *backend) documents() *documents {
	d := &b.openapi
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) < refreshEvery {
		return d
	}
	d.at = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	if err := errors.Join(b.fetchV2(ctx, d), b.fetchIndex(ctx, d)); err != nil {
		b.config.Log.Debug("OpenAPI of another server", "version", b.version.String(), "err", err)
	}
	return d
}

func (b *backend) fetchV2(ctx context.Context, d *documents) error {
	h := http.Header{"Accept": {"application/json"}}
	if d.etag != "" {
		h.Set("If-None-Match", d.etag)
	}
	resp, err := b.ask(ctx, "/openapi/v2", h)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil // as before, or it has none
	}
	doc := map[string]any{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&doc); err != nil {
		return fmt.Errorf("read the OpenAPI 2 document of %s: %w", b.version, err)
	}
	d.v2, d.etag = doc, resp.Header.Get("Etag")
	if d.etag == "" {
		d.etag = d.at.String()
	}
	return nil
}

func (b *backend) fetchIndex(ctx context.Context, d *documents) error {
	resp, err := b.ask(ctx, "/openapi/v3", http.Header{"Accept": {"application/json"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDocument)).Decode(&index); err != nil {
		return fmt.Errorf("read the OpenAPI 3 index of %s: %w", b.version, err)
	}
	d.index = index.Paths[b.path()].ServerRelativeURL
	return nil
}

// ours are definitions that every API server has, with other words in other versions.
const ours = "io.k8s.apimachinery."

// mergeV2 adds to doc what other has below prefix, and the definitions that this refers to. A definition that is another than doc's of
// the same name gets a name of its own.
func mergeV2(doc, other map[string]any, prefix string) {
	paths, _ := other["paths"].(map[string]any)
	definitions, _ := other["definitions"].(map[string]any)
	to, ok1 := doc["paths"].(map[string]any)
	known, ok2 := doc["definitions"].(map[string]any)
	if !ok1 || !ok2 {
		return
	}
	m := merger{from: definitions, to: known, names: map[string]string{}}
	for p, item := range paths {
		if p == prefix || strings.HasPrefix(p, prefix+"/") {
			to[p] = m.copy(item)
		}
	}
}

type merger struct {
	from, to map[string]any
	names    map[string]string // what definitions are called in to
}

// copy is v with its references leading to definitions of to.
func (m *merger) copy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if ref, ok := x.(string); ok && k == "$ref" {
				out[k] = m.ref(ref)
				continue
			}
			out[k] = m.copy(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = m.copy(x)
		}
		return out
	}
	return v
}

func (m *merger) ref(ref string) string {
	const prefix = "#/definitions/"
	name, ok := strings.CutPrefix(ref, prefix)
	if !ok {
		return ref
	}
	if as, seen := m.names[name]; seen {
		return prefix + as
	}
	theirs, there := m.from[name]
	mine, taken := m.to[name]
	if taken && (!there || strings.HasPrefix(name, ours) || reflect.DeepEqual(plain(mine), theirs)) {
		m.names[name] = name
		return ref
	}
	as := name
	for n := 2; taken; n++ {
		as = fmt.Sprintf("%s_v%d", name, n)
		_, taken = m.to[as]
	}
	m.names[name] = as
	m.to[as] = map[string]any{} // it may refer to itself
	m.to[as] = m.copy(theirs)
	return prefix + as
}

// plain is v as JSON reads it.
func plain(v any) (out any) {
	b, err := json.Marshal(v)
	if err != nil || json.Unmarshal(b, &out) != nil {
		return nil
	}
	return out
}
