package hostile

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"

	"proa.dev/kinds"
)

// seed is an honest object, and where it is served.
type seed struct {
	kind *kinds.Kind
	tree map[string]any
	name string
}

// request is one that is sent.
type request struct {
	method, path string
	header       map[string]string
	body         []byte
}

func (q request) String() string {
	return fmt.Sprintf("%s %s %v %.2000q", q.method, q.path, q.header, q.body)
}

// Queries that reads, writes and deletes are sent with.
var (
	queries = []string{"", "dryRun=All", "dryRun=None", "dryRun=All&dryRun=All", "fieldManager=%00", "fieldManager=" + strings.Repeat("x", 200), "fieldValidation=Strict", "fieldValidation=Warn",
		"fieldValidation=Maybe", "force=true", "force=x", "pretty=true", "timeout=-1s", "timeout=1h", "timeout=x", "propagationPolicy=Orphan", "propagationPolicy=X&orphanDependents=true", "gracePeriodSeconds=-1",
		"gracePeriodSeconds=99999999999999999999", "preconditions=1"}
	reads = []string{"limit=1", "limit=-1", "limit=99999999999999999999", "limit=1&continue=", "continue=garbage", "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiXHUwMDAwIn0", "resourceVersion=0",
		"resourceVersion=-1", "resourceVersion=abc", "resourceVersion=99999999999", "resourceVersion=1&resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan", "resourceVersion=0&resourceVersionMatch=Exact",
		"resourceVersionMatch=X&resourceVersion=1", "labelSelector=a%3D%3D", "labelSelector=a+in+(", "labelSelector=" + strings.Repeat("a%3Db,", 3000) + "c", "labelSelector=!%00", "fieldSelector=metadata.name%3Da",
		"fieldSelector=spec.nope%3Da", "fieldSelector=%3D%3D%3D", "fieldSelector=metadata.name!%3Da,metadata.namespace%3D%5C", "sendInitialEvents=true", "watch=true&sendInitialEvents=true", "watch=true&resourceVersion=x",
		"watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "watch=true&timeoutSeconds=-5", "watch=x", "watch=true&limit=1", "includeObject=Object", "includeObject=X", "limit=1&watch=1"}
	accepts = []string{"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/yaml", "*/*", "text/html", "", ";;;", "application/json;q=x",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5"}
	kindsOfBody = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "", "application/json; charset=x", "application/cbor"}
	patches     = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/apply-patch+cbor", "application/json"}
	subs        = []string{"", "", "", "", "/status", "/scale", "/nope", "/binding", "/eviction", "/finalize", "/token", "/ephemeralcontainers", "/resize", "/approval"}
)

// next makes a request of one of the seeds.
func next(r *rand.Rand, seeds []seed) request {
	s := pick(r, seeds)
	name := pick(r, []string{s.name, s.name, "a", "b", "A_", "%2F", strings.Repeat("n", 260), "..%2f..%2f", "x:y"})
	base := "/apis/" + s.kind.Group + "/" + s.kind.Version
	if s.kind.Group == "" {
		base = "/api/" + s.kind.Version
	}
	if s.kind.Namespaced {
		base += "/namespaces/" + pick(r, []string{"default", "default", "default", "default", "missing", "", "%00", "A"})
	}
	base += "/" + s.kind.Resource.Resource
	q := request{header: map[string]string{"Accept": pick(r, accepts)}}
	query := []string{pick(r, queries)}
	switch n := r.IntN(20); {
	case n < 9:
		q.method, q.path = "POST", base
		if r.IntN(10) == 0 {
			q.path += "/" + name + pick(r, subs)
		}
		q.write(r, s)
	case n < 12:
		q.method, q.path = "PUT", base+"/"+name+pick(r, subs)
		q.write(r, s)
	case n < 16:
		q.method, q.path = "PATCH", base+"/"+name+pick(r, subs)
		q.patch(r, s)
	case n < 19:
		q.method, q.path = "GET", base
		if r.IntN(3) == 0 {
			q.path += "/" + name + pick(r, subs)
		}
		query = append(query, pick(r, reads), pick(r, reads))
	default:
		q.method, q.path = "DELETE", base
		if r.IntN(4) > 0 {
			q.path += "/" + name
		}
		query = append(query, pick(r, reads))
		if r.IntN(2) == 0 {
			q.body, _ = json.Marshal(mutate(r, map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": map[string]any{"uid": "x"}}))
		}
	}
	if q.method != "GET" && r.IntN(3) > 0 { // what is stored is to stay little
		query = append(query, "dryRun=All")
	}
	q.path += "?" + strings.Join(query, "&")
	if _, err := url.Parse(q.path); err != nil {
		q.path, _, _ = strings.Cut(q.path, "?")
	}
	return q
}

// write gives the request a body that is nearly one of the kind of s.
func (q *request) write(r *rand.Rand, s seed) {
	var tree any = s.tree
	for range 1 + r.IntN(3) {
		tree = mutate(r, tree)
	}
	q.header["Content-Type"] = pick(r, kindsOfBody[:2])
	q.encode(r, tree)
	if r.IntN(12) == 0 {
		q.header["Content-Type"] = pick(r, kindsOfBody)
	}
}

// patch gives the request a body that nearly is a patch.
func (q *request) patch(r *rand.Rand, s seed) {
	q.header["Content-Type"] = pick(r, patches)
	var tree any = s.tree
	if q.header["Content-Type"] == patches[0] {
		var ops []any
		for range r.IntN(5) {
			ops = append(ops, map[string]any{"op": pick(r, []string{"add", "remove", "replace", "move", "copy", "test", "nope"}),
				"path": pick(r, []string{"/metadata/labels/x", "/spec", "/spec/replicas", "", "/", "/a/b/c", "/metadata/finalizers/-", "/metadata/finalizers/99999999999", "/metadata/name", "~", "/~2"}),
				"from": pick(r, []string{"/metadata", "/spec", "/nope", ""}), "value": pick(r, values)})
		}
		tree = ops
	}
	for range r.IntN(3) {
		tree = mutate(r, tree)
	}
	q.encode(r, tree)
}

func (q *request) encode(r *rand.Rand, tree any) {
	text, err := json.Marshal(tree)
	if err != nil { // a number that JSON does not have: the text says it all the same
		text = []byte(`{"a":1e999}`)
	}
	if r.IntN(6) == 0 {
		text = damage(r, text)
	}
	q.body = text
}
