package hostile

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/codec"
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
		"gracePeriodSeconds=99999999999999999999", "preconditions=1", "orphanDependents=maybe", "ignoreStoreReadErrorWithClusterBreakingPotential=true", "fieldManager=m&force=true", "%zz", "a=%", ";", "=&=&=", "pretty=" + strings.Repeat("1", 9000)}
	reads = []string{"", "limit=1", "limit=-1", "limit=99999999999999999999", "limit=1&continue=", "continue=garbage", "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiXHUwMDAwIn0", "resourceVersion=0",
		"resourceVersion=-1", "resourceVersion=abc", "resourceVersion=1&resourceVersionMatch=Exact", "resourceVersionMatch=NotOlderThan", "resourceVersion=0&resourceVersionMatch=Exact",
		"resourceVersionMatch=X&resourceVersion=1", "labelSelector=a%3D%3D", "labelSelector=a+in+(", "labelSelector=" + strings.Repeat("a%3Db,", 3000) + "c", "labelSelector=!%00", "fieldSelector=metadata.name%3Da",
		"fieldSelector=spec.nope%3Da", "fieldSelector=%3D%3D%3D", "fieldSelector=metadata.name!%3Da,metadata.namespace%3D%5C", "sendInitialEvents=true", "watch=true&sendInitialEvents=true", "watch=true&resourceVersion=x",
		"watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "watch=true&timeoutSeconds=-5", "watch=x", "watch=true&limit=1", "includeObject=Object", "includeObject=X", "limit=1&watch=1",
		"resourceVersion=18446744073709551616", "watch=true&resourceVersion=0&timeoutSeconds=1e9", "shardSelector=a", "resourceVersion=" + strings.Repeat("9", 400)}
	accepts = []string{"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/yaml", "*/*", "text/html", "", ";;;", "application/json;q=x",
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5", "application/cbor", "application/cbor-seq;q=1,*/*;q=0", "application/vnd.kubernetes.protobuf;stream=watch", strings.Repeat("a/b,", 2000) + "*/*"}
	bodyTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "", "application/json; charset=x", "application/cbor", "application/vnd.kubernetes.protobuf;type=x", "a;;;b", "multipart/form-data; boundary=x"}
	patches   = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/apply-patch+cbor", "application/json"}
	subs      = []string{"", "", "", "", "", "", "", "", "", "", "/status", "/scale", "/nope", "/binding", "/eviction", "/finalize", "/token", "/ephemeralcontainers", "/resize", "/approval"}
	names     = []string{"a", "b", "A_", "%2F", strings.Repeat("n", 260), "..%2f..%2f", "x:y", "%00", "%ff%fe", "-", strings.Repeat("n.", 4000), "%zz", "a%3Fb", "*"}
	spaces    = []string{"default", "missing", "", "%00", "A", strings.Repeat("s", 64), "kube-system"}
)

// quiet are the resources of which nothing is stored: they would have the server call others, or refuse all that comes after.
var quiet = []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "apiservices", "customresourcedefinitions", "validatingadmissionpolicies", "mutatingadmissionpolicies", "nodes", "services", "endpoints", "endpointslices"}

// bodies of subresources that take something else than the object.
var bodies = map[string]map[string]any{
	"binding": {"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": "a"}, "target": map[string]any{"kind": "Node", "name": "n"}},
	"eviction": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": "a"}, "deleteOptions": map[string]any{"gracePeriodSeconds": 1, "dryRun": []any{"All"},
		"preconditions": map[string]any{"uid": "x", "resourceVersion": "1"}}},
	"scale": {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": map[string]any{"name": "a", "resourceVersion": "1"}, "spec": map[string]any{"replicas": 1}},
	"token": {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{"audiences": []any{"a"}, "expirationSeconds": 600,
		"boundObjectRef": map[string]any{"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": "x"}}},
}

// next makes a request of one of the seeds.
func next(r *rand.Rand, seeds []seed) request {
	switch r.IntN(100) {
	case 0:
		return elsewhere(r)
	case 1:
		return connect(r)
	case 2:
		name, tree := definition(r)
		return special(r, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", name, tree)
	case 3, 4, 5, 6:
		n := r.IntN(4)
		return special(r, fmt.Sprintf("/apis/hostile.example/%s/namespaces/default/h%ds", pick(r, []string{"v1", "v1", "v2"}), n), "a",
			map[string]any{"apiVersion": "hostile.example/v1", "kind": fmt.Sprintf("H%d", n), "metadata": map[string]any{"name": "a"}, "a": pick(r, values), "b": map[string]any{"a": pick(r, values)}, "items": []any{pick(r, values)}})
	case 7, 8:
		resource, name, tree := rules(r)
		return special(r, "/apis/admissionregistration.k8s.io/v1/"+resource, name, tree)
	}
	s := pick(r, seeds)
	name := s.name
	if r.IntN(3) == 0 {
		name = pick(r, names)
	}
	q := request{header: map[string]string{"Accept": likely(r, accepts)}}
	base, sub := place(r, s), pick(r, subs)
	if n := len(s.kind.Subs); n > 0 && r.IntN(2) == 0 {
		sub = "/" + s.kind.Subs[r.IntN(n)].Name
	}
	if connects(s.kind, sub) {
		sub = "/status"
	}
	query := []string{likely(r, queries)}
	switch n := r.IntN(20); {
	case n < 9:
		q.method, q.path = pick(r, []string{"POST", "POST", "POST", "POST", "POST", "POST", "POST", "POST", "PROPFIND", "post"}), base
		if sub != "" {
			q.path += "/" + name + sub
		}
		q.write(r, s, sub)
	case n < 12:
		q.method, q.path = "PUT", base+"/"+name+sub
		q.write(r, s, sub)
	case n < 16:
		q.method, q.path = "PATCH", base+"/"+name+sub
		q.patch(r, s)
	case n < 19:
		q.method, q.path = pick(r, []string{"GET", "GET", "GET", "HEAD", "OPTIONS"}), base
		if r.IntN(3) == 0 {
			q.path += "/" + name + sub
		} else if r.IntN(12) == 0 {
			q.path = strings.Replace(base, "/"+s.kind.Version+"/", "/"+s.kind.Version+"/watch/", 1)
			query = append(query, "watch=1")
		}
		query = append(query, likely(r, reads), pick(r, []func(*rand.Rand) string{reading, selector, token})(r))
	default:
		q.method, q.path = "DELETE", base
		if r.IntN(4) > 0 {
			q.path += "/" + name
		}
		query = append(query, likely(r, reads), selector(r))
		if r.IntN(2) == 0 {
			q.body, _ = json.Marshal(mutate(r, map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": map[string]any{"uid": "x"}}))
			q.header["Content-Type"] = pick(r, bodyTypes)
		}
	}
	if q.method != "GET" && (r.IntN(3) > 0 || slices.Contains(quiet, s.kind.Resource.Resource)) { // what is stored is to stay little
		query = append(query, "dryRun=All")
	}
	return q.finish(r, query)
}

// place is the path of the resource of s, most of the time.
func place(r *rand.Rand, s seed) string {
	group, version, resource := s.kind.Group, s.kind.Version, s.kind.Resource.Resource
	if n := len(s.kind.Also); n > 0 && r.IntN(2) == 0 {
		other := kinds.ParsePath(s.kind.Also[r.IntN(n)].Path)
		group, version, resource = other.Group, other.Version, other.Resource
	}
	if r.IntN(40) == 0 {
		version = pick(r, []string{"v1beta1", "v9", "", "%00", "v1alpha1"})
	}
	base := "/apis/" + group + "/" + version
	if group == "" {
		base = "/api/" + version
	}
	if s.kind.Namespaced {
		base += "/namespaces/" + likely(r, spaces)
	}
	return base + "/" + resource
}

// connects says whether the subresource would have the server call others.
func connects(k *kinds.Kind, sub string) bool {
	return slices.ContainsFunc(k.Subs, func(s kinds.Sub) bool { return s.Connecting && "/"+s.Name == sub })
}

// likely is the first of list two times of three, so that more than one thing at a time is wrong now and then only.
func likely[T any](r *rand.Rand, list []T) T {
	if r.IntN(3) > 0 {
		return list[0]
	}
	return pick(r, list)
}

// reading is a query of a list. To ask for what is yet to come is rare: the server waits for it, three seconds long.
func reading(r *rand.Rand) string {
	if r.IntN(2000) == 0 {
		return "resourceVersion=99999999999"
	}
	return pick(r, reads)
}

// finish adds the queries, and sometimes headers that nobody expects.
func (q request) finish(r *rand.Rand, query []string) request {
	q.path += "?" + strings.Join(query, "&")
	if r.IntN(8) == 0 {
		q.strange(r)
	}
	return q
}

// write gives the request a body that is nearly one of the kind of s, or of its subresource.
func (q *request) write(r *rand.Rand, s seed, sub string) {
	tree := s.tree
	if other := bodies[strings.TrimPrefix(sub, "/")]; other != nil && r.IntN(8) > 0 {
		tree = other
	}
	if r.IntN(10) == 0 {
		q.protobuf(r, s)
		return
	}
	changed := many(r, tree)
	q.header["Content-Type"] = pick(r, bodyTypes[:2])
	q.encode(r, changed)
	if r.IntN(12) == 0 {
		q.header["Content-Type"] = pick(r, bodyTypes)
	}
}

// many is tree, changed once or a few times.
func many(r *rand.Rand, tree any) any {
	for range 1 + r.IntN(3) {
		tree = mutate(r, tree)
	}
	return tree
}

// protobuf gives the request the object of s in protobuf, damaged most of the time.
func (q *request) protobuf(r *rand.Rand, s seed) {
	q.header["Content-Type"] = "application/vnd.kubernetes.protobuf"
	o := s.kind.New()
	text, _ := json.Marshal(many(r, s.tree))
	if json.Unmarshal(text, o) != nil { // what was changed has no place in the type: as it was
		o = s.kind.New()
		text, _ = json.Marshal(s.tree)
		_ = json.Unmarshal(text, o)
	}
	if e, err := codec.Encode(o, codec.Protobuf); err == nil {
		q.body = slices.Clone(e.Bytes)
	}
	if r.IntN(3) > 0 {
		q.body = damage(r, q.body)
	}
}

// patch gives the request a body that nearly is a patch.
func (q *request) patch(r *rand.Rand, s seed) {
	q.header["Content-Type"] = pick(r, patches)
	var tree any = s.tree
	if q.header["Content-Type"] == patches[0] {
		pointers := []string{"/metadata/labels/x", "/spec", "/spec/replicas", "", "/", "/a/b/c", "/metadata/finalizers/-", "/metadata/finalizers/99999999999", "/metadata/name", "~", "/~2", "/spec/containers/-1", "/metadata/~1~0", pointer(r, s.tree), pointer(r, s.tree)}
		var ops []any
		for range r.IntN(5) {
			ops = append(ops, map[string]any{"op": pick(r, []string{"add", "remove", "replace", "move", "copy", "test", "nope"}), "path": pick(r, pointers),
				"from": pick(r, append([]string{"/metadata", "/spec", "/nope", ""}, pointers...)), "value": pick(r, values)})
		}
		tree = ops
	} else if m, ok := tree.(map[string]any); ok && r.IntN(3) == 0 { // a part alone
		m = maps.Clone(m)
		delete(m, pick(r, []string{"kind", "metadata", "apiVersion", "spec"}))
		tree = m
	}
	for range r.IntN(3) {
		tree = mutate(r, tree)
	}
	q.encode(r, tree)
}

// pointer is the JSON pointer of something inside tree.
func pointer(r *rand.Rand, tree any) string {
	switch v := tree.(type) {
	case map[string]any:
		if len(v) > 0 && r.IntN(5) > 0 {
			name := pick(r, slices.Sorted(maps.Keys(v)))
			return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name) + pointer(r, v[name])
		}
	case []any:
		if len(v) > 0 && r.IntN(5) > 0 {
			i := r.IntN(len(v))
			return fmt.Sprintf("/%d", i) + pointer(r, v[i])
		}
	}
	return ""
}

func (q *request) encode(r *rand.Rand, tree any) {
	text, err := json.Marshal(tree)
	if err != nil { // a number that JSON does not have: the text says it all the same
		text = []byte(`{"a":1e999}`)
	}
	if kind := q.header["Content-Type"]; strings.HasSuffix(kind, "yaml") && r.IntN(2) == 0 {
		if y, err := yaml.JSONToYAML(text); err == nil {
			text = y
		}
	}
	if r.IntN(6) == 0 {
		text = damage(r, text)
	}
	q.body = text
}
