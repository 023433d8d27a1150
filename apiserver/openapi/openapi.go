package openapi

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"proa.dev/kinds"
)

// handler answers below /openapi.
type handler struct {
	kinds func() []*kinds.Kind
	more  More   // nil: nothing
	build string // names this program's code

	mu   sync.Mutex
	docs map[string]*document // by path and format; guarded by mu, also while a document is made: two clients do not make it twice
}

// New is a handler for /openapi/v2, /openapi/v3 and what is below. list is called for every request; the kinds that it returns are
// only read. A change of the list shows at the next request.
func New(list func() []*kinds.Kind) http.Handler {
	return &handler{kinds: list, build: buildID(), docs: map[string]*document{}}
}

// More is what others serve, to be shown beside our own.
type More interface {
	// Hash names what MergeV2 adds now; "" where that is nothing.
	Hash() string
	// MergeV2 adds to a Swagger 2.0 document.
	MergeV2(doc map[string]any)
	// Index is where the OpenAPI 3 documents of versions are: "apis/apps/v1" to a path with a query.
	Index() map[string]string
	// Serve answers for the OpenAPI 3 document of a version, or says that it is none of theirs.
	Serve(w http.ResponseWriter, r *http.Request, version string) bool
}

// NewMerged is New that also shows what others serve.
func NewMerged(list func() []*kinds.Kind, more More) http.Handler {
	return &handler{kinds: list, more: more, build: buildID(), docs: map[string]*document{}}
}

// buildID names the code that documents are made by: another build may make others.
func buildID() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.String()
}

// format is one wire form of a document.
type format struct {
	accept, answer string
	protobuf       bool
}

var (
	jsonForm   = format{"application/json", "application/json", false}
	v2Formats  = []format{jsonForm, {protoV2Old, protoV2, true}, {protoV2, protoV2, true}}
	v3Formats  = []format{jsonForm, {protoV3Old, protoV3, true}, {protoV3, protoV3, true}}
	indexForms = []format{jsonForm}
)

const ( // the media types with @ are not valid by RFC 6838, but are what clients send
	protoV2Old = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	protoV2    = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoV3Old = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
	protoV3    = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	groups := split(h.kinds())
	path := r.URL.Path
	gv, isDoc := strings.CutPrefix(path, "/openapi/v3/")
	switch {
	case path == "/openapi/v2":
		hash, merge := h.hash(groups), func(tree) {}
		if h.more != nil && h.more.Hash() != "" {
			merge = h.more.MergeV2
		}
		h.serve(w, r, v2Formats, hash, func(f format) ([]byte, error) { return encodeV2(groups, f.protobuf, merge) })
	case path == "/openapi/v3":
		h.serve(w, r, indexForms, h.hash(groups), func(format) ([]byte, error) { return h.index(groups) })
	case isDoc:
		if h.more != nil && h.more.Serve(w, r, gv) {
			return
		}
		for i, g := range groups {
			if g.path == gv {
				h.serveVersion(w, r, groups[i])
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	default:
		http.NotFound(w, r)
	}
}

func (h *handler) serveVersion(w http.ResponseWriter, r *http.Request, g version) {
	hash := hashOf(h.build, []version{g})
	switch r.URL.Query().Get("hash") {
	case "":
	case hash: // the address names the content, so the answer holds for ever
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	default:
		http.Redirect(w, r, address(g, hash), http.StatusMovedPermanently)
		return
	}
	h.serve(w, r, v3Formats, hash, func(f format) ([]byte, error) { return encodeV3(g, f.protobuf) })
}

// index is the list of documents: kubectl reads it first, and then only what it needs.
func (h *handler) index(groups []version) ([]byte, error) {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	out := struct {
		Paths map[string]entry `json:"paths"`
	}{map[string]entry{}}
	for _, g := range groups {
		out.Paths[g.path] = entry{address(g, hashOf(h.build, []version{g}))}
	}
	if h.more != nil {
		for path, url := range h.more.Index() {
			out.Paths[path] = entry{url}
		}
	}
	return json.Marshal(out)
}

func address(g version, hash string) string {
	return (&url.URL{Path: "/openapi/v3/" + g.path, RawQuery: url.Values{"hash": {hash}}.Encode()}).String()
}

// hash names what documents of everything will say.
func (h *handler) hash(groups []version) string {
	build := h.build
	if h.more != nil {
		build += h.more.Hash()
	}
	return hashOf(build, groups)
}

// hashOf names what a document will say without making it: the code, and what it is given.
func hashOf(build string, groups []version) string {
	s := sha512.New()
	fmt.Fprintln(s, build)
	for _, g := range groups {
		fmt.Fprintln(s, g.path)
		for _, r := range g.resources {
			fmt.Fprintln(s, r.gvk, r.name, r.kind.Namespaced, r.kind.Verbs, r.kind.Status, r.kind.Scale != nil, r.kind.Subs)
			if c := r.kind.Custom; c != nil {
				fmt.Fprintln(s, c.Digest)
			}
		}
	}
	return fmt.Sprintf("%X", s.Sum(nil))
}

// serve answers with the document of this path, made now if nobody has asked before or the kinds have changed.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, forms []format, hash string, make func(format) ([]byte, error)) {
	f, ok := negotiate(r.Header.Get("Accept"), forms)
	if !ok {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	w.Header().Set("Vary", "Accept-Encoding")
	w.Header().Set("Content-Type", f.answer)
	w.Header().Set("ETag", strconv.Quote(hash))
	if known(r.Header.Get("If-None-Match"), strconv.Quote(hash)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	d, err := h.document(r.URL.Path+" "+f.answer, hash, func() ([]byte, error) { return make(f) })
	if err != nil {
		http.Error(w, fmt.Sprintf("make OpenAPI document: %v", err), http.StatusInternalServerError)
		return
	}
	d.writeTo(w, r)
}

// known says whether an If-None-Match header names an entity tag (RFC 9110, section 13.1.2).
func known(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

func (h *handler) document(key, hash string, make func() ([]byte, error)) (*document, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.docs[key]; d != nil && d.hash == hash {
		return d, nil
	}
	plain, err := make()
	if err != nil {
		return nil, err
	}
	d, err := compress(plain, hash)
	if err != nil {
		return nil, err
	}
	h.docs[key] = d
	return d, nil
}

// negotiate takes the first media type of an Accept header that is among forms.
func negotiate(accept string, forms []format) (format, bool) {
	if accept == "" {
		return forms[0], true
	}
	for part := range strings.SplitSeq(accept, ",") {
		t, _, err := mime.ParseMediaType(part)
		if err != nil { // "@" is not allowed in a media type
			t, _, _ = strings.Cut(strings.TrimSpace(part), ";")
		}
		for _, f := range forms {
			if t == f.accept || t == "*/*" || t == "application/*" {
				return f, true
			}
		}
	}
	return format{}, false
}
