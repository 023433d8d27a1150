package apiserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	autoscaling "k8s.io/api/autoscaling/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/store"
)

const cms = "/api/v1/namespaces/default/configmaps"

// mustCall is call with the code that is wanted.
func mustCall(t *testing.T, s *apitest.Server, want int, method, path, kind string, body, out any) {
	t.Helper()
	var raw json.RawMessage
	code := call(t, s, method, path, kind, body, &raw)
	if code != want {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, code, want, raw)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			t.Fatal(err)
		}
	}
}

func newConfigMap(name string, labels string) string {
	return fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":%q,"labels":{%s}}}`, name, labels)
}

// refusals are requests and the code and text that must answer them.
func TestRefusals(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("there", ""), nil)
	deploy := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{%s"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	deploys := "/apis/apps/v1/namespaces/default/deployments"
	big := strings.Repeat("x", 3<<20+1)
	for _, c := range []struct {
		name, method, path, kind, body string
		code                           int
		text                           string
	}{
		{"no such kind", "GET", "/api/v1/namespaces/default/nothings", "", "", 404, "the server could not find the requested resource"},
		{"no such object", "GET", cms + "/no", "", "", 404, `configmaps "no" not found`},
		{"no such group object", "GET", deploys + "/no", "", "", 404, `deployments.apps "no" not found`},
		{"no such namespace", "POST", "/api/v1/namespaces/no/configmaps", "", newConfigMap("a", ""), 404, `namespaces "no" not found`},
		{"malformed JSON", "POST", cms, "", `{"metadata":`, 400, "unexpected end of JSON input"},
		{"wrong type of field", "POST", cms, "", `{"metadata":{"name":3}}`, 400, `ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field`},
		{"malformed YAML", "POST", cms, "application/yaml", "a: b: c", 400, "yaml:"},
		{"malformed protobuf", "POST", cms, "application/vnd.kubernetes.protobuf", "k8s\x00\xff\xff", 400, "the object provided is unrecognized (must be of type ConfigMap): unexpected EOF (6b387300ffff)"},
		{"no protobuf", "POST", cms, "application/vnd.kubernetes.protobuf", "hello", 400, "provided data does not appear to be a protobuf message"},
		{"other kind", "POST", cms, "", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`, 400, `Secret in version "v1" cannot be handled as a ConfigMap`},
		{"other version", "POST", deploys, "", `{"apiVersion":"v1","kind":"Deployment"}`, 400, `Deployment in version "v1" cannot be handled as a Deployment`},
		{"other group", "POST", cms, "", `{"apiVersion":"batch/v1","kind":"Job"}`, 400, `Job in version "v1" cannot be handled as a ConfigMap: converting (v1.Job) to (core.ConfigMap): unknown conversion`},
		{"a version that is not served", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", `{"apiVersion":"authorization.k8s.io/v1beta1","kind":"SelfSubjectAccessReview"}`, 400, "the API version in the data (authorization.k8s.io/v1beta1) does not match the expected API version (authorization.k8s.io/v1)"},
		{"other group of a subresource", "POST", "/api/v1/namespaces/default/pods/a/eviction", "", `{"apiVersion":"v1","kind":"Pod"}`, 400, `Pod in version "v1" cannot be handled as a Eviction: converting (v1.Pod) to (policy.Eviction): unknown conversion`},
		{"other group of a scale", "PUT", "/apis/apps/v1/namespaces/default/deployments/a/scale", "", `{"apiVersion":"extensions/v1beta1","kind":"Scale"}`, 400, "the API version in the data (extensions/v1beta1) does not match the expected API version (autoscaling/v1)"},
		{"unknown field", "POST", deploys + "?fieldValidation=Strict", "", fmt.Sprintf(deploy, `"foo":1,`), 400, `strict decoding error: unknown field "spec.foo"`},
		{"duplicate field", "POST", cms + "?fieldValidation=Strict", "", `{"metadata":{"name":"a","name":"b"}}`, 400, `strict decoding error: duplicate field "metadata.name"`},
		{"too large", "POST", cms, "", big, 413, "Request entity too large: limit is 3145728"},
		{"too deep", "POST", cms, "", strings.Repeat(`{"a":`, 100000), 400, "exceeded max depth"},
		{"media type", "POST", cms, "text/plain", "x", 415, "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"a patch nested too deep", "PATCH", cms + "/there", "application/merge-patch+json", strings.Repeat(`{"a":`, 100000), 400, "error decoding patch: invalid character '{' exceeded max depth"},
		{"no name for an object", "GET", cms + "/%2e%2e", "", "", 400, `Name parameter invalid: "..": may not be '..'`},
		{"patch type in capitals", "PATCH", cms + "/there", "APPLICATION/MERGE-PATCH+JSON", "{}", 415, "415: Unsupported Media Type"},
		{"patch types", "PATCH", cms + "/there", "application/merge-patch+json, text/plain", "{}", 415, "the body of the request was in an unknown format - accepted media types include: application/json-patch+json"},
		{"an apply of a list", "PATCH", cms + "/there?fieldManager=a", "application/apply-patch+yaml", "[]", 400, "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array"},
		{"an apply of no base64", "PATCH", "/api/v1/namespaces/default/secrets/s?fieldManager=a", "application/apply-patch+yaml", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"!!"}}`, 500, "to proper version: unable to convert unstructured object to /v1, Kind=Secret: error decoding from json: illegal base64"},
		{"neither name nor namespace", "PUT", cms + "/there", "", `{"metadata":{"name":"a","namespace":"other"}}`, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"no version through patch", "PATCH", cms + "/there", "application/merge-patch+json", `{"apiVersion":null}`, 400, "the name of the object (there based on URL) was undeterminable: name must be provided"},
		{"patch type", "PATCH", cms + "/there", "application/json", "{}", 415, "415: Unsupported Media Type"},
		{"namespace mismatch", "POST", cms, "", `{"metadata":{"name":"a","namespace":"other"}}`, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"name mismatch", "PUT", cms + "/there", "", newConfigMap("other", ""), 400, "the name of the object (other) does not match the name on the URL (there)"},
		{"name mismatch of nothing", "PUT", cms + "/nobody", "", newConfigMap("other", ""), 400, "the name of the object (other) does not match the name on the URL (nobody)"},
		{"another object", "PUT", cms + "/there", "", `{"metadata":{"name":"there","uid":"x"}}`, 409, "StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/there, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: x, UID in object meta: "},
		{"another object, as a trial", "PUT", cms + "/there?dryRun=All", "", `{"metadata":{"name":"there","uid":"x"}}`, 409, "Key: /configmaps/default/there, ResourceVersion: 0"},
		{"a version of old", "POST", deploys, "", `{"apiVersion":"apps/v1beta1","kind":"Deployment"}`, 400, "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"},
		{"unknown field of another version", "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers?fieldValidation=Strict", "",
			`{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"},"bogus":1}`, 400,
			`HorizontalPodAutoscaler in version "v1" cannot be handled as a HorizontalPodAutoscaler: strict decoding error: unknown field "bogus"`},
		{"another version", "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", "",
			`{"apiVersion":"autoscaling/v1","kind":"HorizontalPodAutoscaler","metadata":{"name":"h"}}`, 400,
			"the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"},
		{"a scale without a name", "PUT", deploys + "/no/scale", "", `{"apiVersion":"autoscaling/v1","kind":"Scale"}`, 400, "the name of the object (no based on URL) was undeterminable: name must be provided"},
		{"an event of the newer sort", "POST", "/apis/events.k8s.io/v1/namespaces/default/events", "", `{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a"},"type":"Odd"}`, 422, `Event "a" is invalid: [eventTime: Required value, type: Invalid value: "": has invalid value: Odd]`},
		{"a finalizer that is wrong twice", "POST", cms, "", `{"metadata":{"name":"a","finalizers":["a b"]}}`, 422, "metadata.finalizers[0]: Invalid value: \"a b\": name is neither a standard finalizer name nor is it fully qualified"},
		{"no name", "POST", cms, "", `{}`, 422, `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`},
		{"bad name", "POST", cms, "", newConfigMap("A_b", ""), 422, `ConfigMap "A_b" is invalid: metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain`},
		{"bad label", "POST", cms, "", newConfigMap("a", `"-":"x"`), 422, `metadata.labels: Invalid value: "-"`},
		{"label selector", "GET", cms + "?labelSelector=" + url.QueryEscape("a in"), "", "", 400, "unable to parse requirement"},
		{"field selector", "GET", cms + "?fieldSelector=spec.x%3D1", "", "", 400, `"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"limit", "GET", cms + "?limit=x", "", "", 400, "invalid syntax"},
		{"continue", "GET", cms + "?continue=x", "", "", 400, "invalid continue token"},
		{"continue out of the prefix", "GET", cms + "?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzIn0", "", "", 400, "continue key is not valid"},
		{"resourceVersion", "GET", cms + "?resourceVersion=x", "", "", 400, `invalid resource version: resourceVersion: Invalid value: "x"`},
		{"match without version", "GET", cms + "?resourceVersionMatch=Exact", "", "", 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"watchlist without match", "GET", cms + "?watch=1&sendInitialEvents=true", "", "", 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"},
		{"method", "PUT", cms, "", "{}", 405, "the server does not allow this method on the requested resource"},
		{"no deletecollection of namespaces", "DELETE", "/api/v1/namespaces", "", "", 405, "the server does not allow this method on the requested resource"},
		{"dry run", "POST", cms + "?dryRun=Maybe", "", newConfigMap("a", ""), 422, `dryRun: Unsupported value: ["Maybe"]: supported values: "All"`},
		{"precondition", "DELETE", cms + "/there", "", `{"preconditions":{"uid":"x"}}`, 409, "the UID in the precondition (x) does not match the UID in record"},
		{"protected namespace", "DELETE", "/api/v1/namespaces/kube-system", "", "", 403, `namespaces "kube-system" is forbidden: this namespace may not be deleted`},
		{"no subresource", "GET", cms + "/there/nothing", "", "", 404, "the server could not find the requested resource"},
		{"no status", "GET", cms + "/there/status", "", "", 404, "the server could not find the requested resource"},
		{"json patch", "PATCH", cms + "/there", "application/json-patch+json", `[{"op":"test","path":"/data","value":1}]`, 422, "the server rejected our request due to an error in our request"},
		{"immutable through patch", "PATCH", cms + "/there", "application/merge-patch+json", `{"metadata":{"uid":"x"}}`, 422, `metadata.uid: Invalid value: "x": field is immutable`},
		{"version set on create", "POST", cms, "", `{"metadata":{"name":"a","resourceVersion":"5"}}`, 500, "resourceVersion should not be set on objects to be created"},
		{"kind through patch", "PATCH", cms + "/there", "application/merge-patch+json", `{"kind":"Secret"}`, 422, "converting (v1.Secret) to (core.ConfigMap): unknown conversion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", c.kind)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			text := string(body)
			var st metav1.Status
			if json.Unmarshal(body, &st) == nil {
				text = st.Message
				if st.Kind != "Status" || st.Status != "Failure" || int(st.Code) != res.StatusCode {
					t.Errorf("%s is no proper Status", body)
				}
			}
			if res.StatusCode != c.code || !strings.Contains(text, c.text) {
				t.Errorf("got  %d %.300s\nwant %d %s", res.StatusCode, text, c.code, c.text)
			}
		})
	}
}

func TestWarningsForUnknownFields(t *testing.T) {
	s := apitest.Start(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+cms, strings.NewReader(`{"metadata":{"name":"a","x":1},"y":2}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	got := strings.Join(res.Header.Values("Warning"), "; ")
	if want := `299 - "unknown field \"metadata.x\""; 299 - "unknown field \"y\""`; res.StatusCode != 201 || got != want {
		t.Errorf("%d %s, want 201 %s", res.StatusCode, got, want)
	}
}

func TestPagesOfOneRevision(t *testing.T) {
	var st store.Store
	s := apitest.Start(t, apitest.Keep(&st))
	for i := range 23 {
		mustCall(t, s, 201, "POST", cms, "", newConfigMap(fmt.Sprintf("m-%02d", i), ""), nil)
	}
	var names []string
	next, version, first := "", "", ""
	for page := 0; ; page++ {
		var l core.ConfigMapList
		mustCall(t, s, 200, "GET", cms+"?limit=5&continue="+next, "", nil, &l)
		for _, it := range l.Items {
			names = append(names, it.Name)
		}
		if version == "" {
			version, first = l.ResourceVersion, l.Continue
			mustCall(t, s, 201, "POST", cms, "", newConfigMap("m-03-later", ""), nil) // is in no page
			mustCall(t, s, 200, "DELETE", cms+"/m-20", "", nil, nil)                  // still in its page
		}
		if l.ResourceVersion != version {
			t.Errorf("page %d is of version %s, want %s", page, l.ResourceVersion, version)
		}
		if l.Continue == "" {
			if l.RemainingItemCount != nil {
				t.Errorf("the last page says that %d remain", *l.RemainingItemCount)
			}
			break
		}
		if l.RemainingItemCount == nil || int(*l.RemainingItemCount) != 23-len(names) {
			t.Errorf("page %d: %v remain, want %d", page, l.RemainingItemCount, 23-len(names))
		}
		next = l.Continue
	}
	if len(names) != 23 || names[0] != "m-00" || names[22] != "m-22" {
		t.Errorf("pages have %d names: %v", len(names), names)
	}
	// After a compaction the token is worth nothing, and the answer has one to go on with.
	rev, err := st.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Compact(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	var gone metav1.Status
	mustCall(t, s, 410, "GET", cms+"?limit=5&continue="+first, "", nil, &gone)
	if gone.Reason != metav1.StatusReasonExpired || gone.ListMeta.Continue == "" {
		t.Fatalf("got %+v", gone)
	}
	var l core.ConfigMapList
	mustCall(t, s, 200, "GET", cms+"?limit=5&continue="+gone.ListMeta.Continue, "", nil, &l)
	if len(l.Items) != 5 || l.Items[0].Name != "m-05" || l.ResourceVersion == version {
		t.Errorf("went on with %d from %s at %s", len(l.Items), l.Items[0].Name, l.ResourceVersion)
	}
}

// stream is an open watch.
type stream struct {
	t   *testing.T
	out chan event
}

type event struct {
	Type   string
	Object core.ConfigMap
}

func (e event) String() string { return e.Type + " " + e.Object.Name }

func watch(t *testing.T, s *apitest.Server, query string) stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.URL+cms+"?watch=1&"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 {
		t.Fatalf("watch %s: %d", query, res.StatusCode)
	}
	st := stream{t, make(chan event, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(st.out)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("watch: %s: %v", lines.Bytes(), err)
				return
			}
			st.out <- e
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return st
}

// want is the next events.
func (s stream) want(events ...string) (last event) {
	s.t.Helper()
	for _, w := range events {
		select {
		case e, ok := <-s.out:
			if !ok {
				s.t.Fatalf("the watch ended, want %s", w)
			}
			if e.String() != w {
				s.t.Fatalf("got %s, want %s", e, w)
			}
			last = e
		case <-time.After(10 * time.Second):
			s.t.Fatalf("nothing came, want %s", w)
		}
	}
	return last
}

func TestWatches(t *testing.T) {
	s := apitest.Start(t)
	var a, b core.ConfigMap
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("a", `"sel":"yes"`), &a)
	everything := watch(t, s, "")
	selected := watch(t, s, "labelSelector=sel%3Dyes&resourceVersion="+a.ResourceVersion)
	named := watch(t, s, "fieldSelector=metadata.name%3Db")
	marked := watch(t, s, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	everything.want("ADDED a")
	if e := marked.want("ADDED a", "BOOKMARK "); e.Object.Annotations[metav1.InitialEventsAnnotationKey] != "true" || e.Object.ResourceVersion == "" {
		t.Errorf("the end of the initial events is %+v", e.Object.ObjectMeta)
	}
	// Who names no revision and takes bookmarks is told, too.
	watch(t, s, "allowWatchBookmarks=true").want("ADDED a", "BOOKMARK ")
	watch(t, s, "allowWatchBookmarks=true&resourceVersion=0").want("ADDED a", "BOOKMARK ")
	patchLabel := func(name, value string) (o core.ConfigMap) {
		mustCall(t, s, 200, "PATCH", cms+"/"+name, "application/merge-patch+json", `{"metadata":{"labels":{"sel":`+value+`}}}`, &o)
		return o
	}
	out := patchLabel("a", `"no"`)
	patchLabel("a", `"yes"`)
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("b", ""), &b)
	patchLabel("b", `"yes"`)
	patchLabel("b", `null`)
	var st metav1.Status
	mustCall(t, s, 200, "DELETE", cms+"/a", "", nil, &st)
	everything.want("MODIFIED a", "MODIFIED a", "ADDED b", "MODIFIED b", "MODIFIED b")
	gone := everything.want("DELETED a")
	if gone.Object.ResourceVersion <= b.ResourceVersion || gone.Object.UID != a.UID || gone.Object.Kind != "ConfigMap" {
		t.Errorf("deleted: %+v", gone.Object)
	}
	left := selected.want("DELETED a")
	if left.Object.ResourceVersion != out.ResourceVersion || left.Object.Labels["sel"] != "yes" {
		t.Errorf("an object that leaves the selection is told as %+v, want its old state at version %s", left.Object.ObjectMeta, out.ResourceVersion)
	}
	selected.want("ADDED a", "ADDED b", "DELETED b", "DELETED a")
	named.want("ADDED b", "MODIFIED b", "MODIFIED b")
	marked.want("MODIFIED a", "MODIFIED a", "ADDED b")

	replay := watch(t, s, "resourceVersion="+b.ResourceVersion+"&timeoutSeconds=1")
	replay.want("MODIFIED b", "MODIFIED b", "DELETED a")
	select {
	case _, ok := <-replay.out:
		if ok {
			t.Error("more came than there was")
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch did not end at its time")
	}
}

func TestRestart(t *testing.T) {
	s := apitest.Start(t)
	var old core.ConfigMap
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("a", ""), &old)
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("b", ""), nil)
	s.Stop()
	again := apitest.StartIn(t, s.Dir)
	var a core.ConfigMap
	mustCall(t, again, 200, "GET", cms+"/a", "", nil, &a)
	if a.UID != old.UID || a.ResourceVersion != old.ResourceVersion {
		t.Errorf("after a restart: %+v, want %+v", a.ObjectMeta, old.ObjectMeta)
	}
	// What happened before the start is not remembered: the client is told to list again.
	e := watch(t, again, "resourceVersion="+old.ResourceVersion).want("ERROR ")
	if e.Object.Kind != "Status" {
		t.Errorf("got %+v", e.Object)
	}
	watch(t, again, "").want("ADDED a", "ADDED b")
}

func TestFinalizersAndGrace(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", cms, "", `{"metadata":{"name":"held","finalizers":["example.com/x"]}}`, nil)
	var o core.ConfigMap
	mustCall(t, s, 200, "DELETE", cms+"/held", "", nil, &o)
	if o.Kind != "ConfigMap" || o.DeletionTimestamp == nil || o.DeletionGracePeriodSeconds == nil {
		t.Errorf("held: %+v", o)
	}
	mustCall(t, s, 200, "DELETE", cms+"/held", "", nil, &o)
	mustCall(t, s, 422, "PATCH", cms+"/held", "application/merge-patch+json", `{"metadata":{"finalizers":["example.com/x","example.com/y"]}}`, nil)
	mustCall(t, s, 200, "PATCH", cms+"/held", "application/merge-patch+json", `{"metadata":{"finalizers":null}}`, nil)
	mustCall(t, s, 404, "GET", cms+"/held", "", nil, nil)

	mustCall(t, s, 201, "POST", cms, "", newConfigMap("parent", ""), nil)
	mustCall(t, s, 200, "DELETE", cms+"/parent?propagationPolicy=Foreground", "", nil, &o)
	if len(o.Finalizers) != 1 || o.Finalizers[0] != metav1.FinalizerDeleteDependents {
		t.Errorf("foreground: %v", o.Finalizers)
	}
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("orphaner", ""), nil)
	mustCall(t, s, 200, "DELETE", cms+"/orphaner", "", `{"propagationPolicy":"Orphan"}`, &o)
	if len(o.Finalizers) != 1 || o.Finalizers[0] != metav1.FinalizerOrphanDependents {
		t.Errorf("orphan: %v", o.Finalizers)
	}
}

const podsPath = "/api/v1/namespaces/default/pods"

func newPod(name, more string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"labels":{"app":"x"}},"spec":{%s"containers":[{"name":"c","image":"i"}]}}`, name, more)
}

func TestPodLife(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", "/api/v1/namespaces/default/serviceaccounts", "", `{"metadata":{"name":"default"}}`, nil)
	var p core.Pod
	mustCall(t, s, 201, "POST", podsPath, "", newPod("p", ""), &p)
	if p.Status.Phase != core.PodPending || p.Spec.ServiceAccountName != "default" || len(p.Spec.Volumes) != 1 || len(p.Spec.Containers[0].VolumeMounts) != 1 ||
		p.Spec.Priority == nil || len(p.Spec.Tolerations) != 2 || p.Generation != 1 {
		t.Errorf("created: %+v", p)
	}
	mustCall(t, s, 201, "POST", podsPath+"/p/binding", "", `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}`, nil)
	mustCall(t, s, 409, "POST", podsPath+"/p/binding", "", `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n2"}}`, nil)
	mustCall(t, s, 200, "PATCH", podsPath+"/p/status", "application/strategic-merge-patch+json",
		`{"metadata":{"annotations":{"patchedstatus":"true"}},"spec":{"nodeName":"other"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, &p)
	if p.Spec.NodeName != "n1" || p.Status.Phase != core.PodRunning || p.Annotations["patchedstatus"] != "true" || len(p.Status.Conditions) != 2 {
		t.Errorf("status patched: %+v", p)
	}
	var l core.PodList
	mustCall(t, s, 200, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,status.phase%3DRunning", "", nil, &l)
	if len(l.Items) != 1 {
		t.Errorf("%d pods on n1", len(l.Items))
	}
	mustCall(t, s, 422, "PATCH", podsPath+"/p/resize", "application/strategic-merge-patch+json", // from best effort to burstable
		`{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]}}`, nil)
	mustCall(t, s, 200, "DELETE", podsPath+"/p", "", nil, &p)
	if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Errorf("deleted: %+v", p.ObjectMeta)
	}
	mustCall(t, s, 200, "DELETE", podsPath+"/p?gracePeriodSeconds=5", "", nil, &p)
	if *p.DeletionGracePeriodSeconds != 5 {
		t.Errorf("grace is %d, want 5", *p.DeletionGracePeriodSeconds)
	}
	mustCall(t, s, 200, "DELETE", podsPath+"/p?gracePeriodSeconds=20", "", nil, &p)
	if *p.DeletionGracePeriodSeconds != 5 {
		t.Errorf("grace has grown to %d", *p.DeletionGracePeriodSeconds)
	}
	mustCall(t, s, 200, "DELETE", podsPath+"/p?gracePeriodSeconds=0", "", nil, nil)
	mustCall(t, s, 404, "GET", podsPath+"/p", "", nil, nil)

	mustCall(t, s, 201, "POST", podsPath, "", newPod("unscheduled", ""), nil)
	mustCall(t, s, 200, "DELETE", podsPath+"/unscheduled", "", nil, nil)
	mustCall(t, s, 404, "GET", podsPath+"/unscheduled", "", nil, nil)

	mustCall(t, s, 201, "POST", podsPath, "", newPod("evicted", ""), nil)
	mustCall(t, s, 201, "POST", podsPath+"/evicted/eviction", "", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"evicted"}}`, nil)
	mustCall(t, s, 404, "GET", podsPath+"/evicted", "", nil, nil)
	mustCall(t, s, 403, "POST", podsPath, "", newPod("q", `"priorityClassName":"none",`), nil)
	mustCall(t, s, 201, "POST", podsPath, "", newPod("q", `"priorityClassName":"system-node-critical",`), &p)
	if *p.Spec.Priority != 2000001000 {
		t.Errorf("priority is %d", *p.Spec.Priority)
	}
	mustCall(t, s, 201, "POST", podsPath, "", `{"metadata":{"name":"grows"},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"1"}}}]}}`, nil)
	mustCall(t, s, 200, "PATCH", podsPath+"/grows/resize", "application/strategic-merge-patch+json",
		`{"spec":{"containers":[{"name":"c","image":"other","resources":{"requests":{"cpu":"1500m"}}}]}}`, &p)
	if c := p.Spec.Containers[0]; c.Resources.Requests.Cpu().MilliValue() != 1500 || c.Image != "i" || p.Generation != 2 {
		t.Errorf("resized: %+v, generation %d", c, p.Generation)
	}
}

func TestScaleAndGeneration(t *testing.T) {
	s := apitest.Start(t)
	const path = "/apis/apps/v1/namespaces/default/deployments"
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}},"status":{"replicas":9}}`, nil)
	var sc autoscaling.Scale
	mustCall(t, s, 200, "GET", path+"/d/scale", "", nil, &sc)
	if sc.Kind != "Scale" || sc.Spec.Replicas != 2 || sc.Status.Replicas != 0 || sc.Status.Selector != "a=b" {
		t.Errorf("scale: %+v", sc)
	}
	sc.Spec.Replicas = 5
	mustCall(t, s, 200, "PUT", path+"/d/scale", "", sc, &sc)
	mustCall(t, s, 200, "PATCH", path+"/d/scale", "application/merge-patch+json", `{"spec":{"replicas":6}}`, &sc)
	var d struct {
		Metadata metav1.ObjectMeta
		Spec     struct{ Replicas int }
		Status   struct{ ReadyReplicas int }
	}
	mustCall(t, s, 200, "PATCH", path+"/d/status", "application/merge-patch+json", `{"spec":{"replicas":1},"status":{"replicas":6,"readyReplicas":3}}`, &d)
	if d.Spec.Replicas != 6 || d.Metadata.Generation != 3 || d.Status.ReadyReplicas != 3 {
		t.Errorf("got %+v, want 6 replicas at generation 3, 3 ready", d)
	}
	mustCall(t, s, 200, "PATCH", path+"/d", "application/merge-patch+json", `{"metadata":{"labels":{"x":"y"}},"status":{"readyReplicas":1}}`, &d)
	if d.Metadata.Generation != 3 || d.Status.ReadyReplicas != 3 {
		t.Errorf("a change of labels: %+v", d)
	}
}

func TestEventsAreOneStorageInTwoGroups(t *testing.T) {
	s := apitest.Start(t)
	const newer = "/apis/events.k8s.io/v1/namespaces/default/events"
	mustCall(t, s, 201, "POST", newer, "", `{"metadata":{"name":"e"},"eventTime":"2026-01-02T03:04:05.123456Z","reportingController":"c.example","reportingInstance":"i","action":"Do","reason":"R","regarding":{"kind":"Pod","namespace":"default","name":"p"},"note":"hello","type":"Normal"}`, nil)
	var e core.Event
	mustCall(t, s, 200, "GET", "/api/v1/namespaces/default/events/e", "", nil, &e)
	if e.APIVersion != "v1" || e.Message != "hello" || e.InvolvedObject.Name != "p" || e.EventTime.Nanosecond() != 123456000 {
		t.Errorf("core event: %+v", e)
	}
	var l struct {
		Kind, APIVersion string
		Items            []struct{ Note string }
	}
	mustCall(t, s, 200, "GET", newer+"?fieldSelector=reportingController%3Dc.example", "", nil, &l)
	if l.Kind != "EventList" || l.APIVersion != "events.k8s.io/v1" || len(l.Items) != 1 || l.Items[0].Note != "hello" {
		t.Errorf("list: %+v", l)
	}
	mustCall(t, s, 400, "GET", newer+"?fieldSelector=involvedObject.name%3Dp", "", nil, nil) // each version has names of its own
	mustCall(t, s, 400, "GET", "/api/v1/namespaces/default/events?fieldSelector=regarding.name%3Dp", "", nil, nil)
	mustCall(t, s, 200, "PATCH", newer+"/e", "application/merge-patch+json", `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:05.654321Z"}}`, nil)
	mustCall(t, s, 200, "GET", "/api/v1/namespaces/default/events/e", "", nil, &e)
	if e.Series == nil || e.Series.Count != 2 || e.Series.LastObservedTime.Nanosecond() != 654321000 {
		t.Errorf("series: %+v", e.Series)
	}
}

func TestDeleteCollectionGenerateNameAndDryRun(t *testing.T) {
	s := apitest.Start(t)
	names := map[string]bool{}
	for range 5 {
		var o core.ConfigMap
		mustCall(t, s, 201, "POST", cms, "", `{"metadata":{"generateName":"g-","labels":{"g":"1"}}}`, &o)
		names[o.Name] = true
	}
	if len(names) != 5 {
		t.Errorf("names: %v", names)
	}
	mustCall(t, s, 201, "POST", cms+"?dryRun=All", "", newConfigMap("dry", ""), nil)
	mustCall(t, s, 404, "GET", cms+"/dry", "", nil, nil)
	mustCall(t, s, 201, "POST", cms, "", newConfigMap("keep", ""), nil)
	mustCall(t, s, 200, "DELETE", cms+"/keep?dryRun=All", "", nil, nil)
	mustCall(t, s, 200, "DELETE", cms+"?labelSelector=g%3D1", "", nil, nil)
	var l core.ConfigMapList
	mustCall(t, s, 200, "GET", cms, "", nil, &l)
	if len(l.Items) != 1 || l.Items[0].Name != "keep" {
		t.Errorf("left: %v", l.Items)
	}
}

func TestNamespaceEnds(t *testing.T) {
	s := apitest.Start(t)
	var ns core.Namespace
	mustCall(t, s, 201, "POST", "/api/v1/namespaces", "", `{"metadata":{"name":"n"}}`, &ns)
	if ns.Labels["kubernetes.io/metadata.name"] != "n" || len(ns.Spec.Finalizers) != 1 || ns.Status.Phase != core.NamespaceActive {
		t.Errorf("created: %+v", ns)
	}
	mustCall(t, s, 200, "DELETE", "/api/v1/namespaces/n", "", nil, &ns)
	if ns.Status.Phase != core.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Errorf("deleted: %+v", ns)
	}
	var st metav1.Status
	mustCall(t, s, 403, "POST", "/api/v1/namespaces/n/configmaps", "", newConfigMap("late", ""), &st)
	if len(st.Details.Causes) != 1 || st.Details.Causes[0].Type != core.NamespaceTerminatingCause {
		t.Errorf("refused: %+v", st)
	}
	ns.Spec.Finalizers = nil
	mustCall(t, s, 200, "PUT", "/api/v1/namespaces/n/finalize", "", ns, nil)
	mustCall(t, s, 404, "GET", "/api/v1/namespaces/n", "", nil, nil)
}

func TestServiceAddresses(t *testing.T) {
	s := apitest.Start(t)
	const path = "/api/v1/namespaces/default/services"
	var a, b core.Service
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"a"},"spec":{"type":"NodePort","ports":[{"name":"t","port":53,"protocol":"TCP"},{"name":"u","port":53,"protocol":"UDP"}]}}`, &a)
	if !strings.HasPrefix(a.Spec.ClusterIP, "10.43.") || a.Spec.ClusterIPs[0] != a.Spec.ClusterIP || a.Spec.Ports[0].NodePort == 0 ||
		a.Spec.Ports[0].NodePort != a.Spec.Ports[1].NodePort || a.Spec.IPFamilies[0] != core.IPv4Protocol {
		t.Errorf("a: %+v", a.Spec)
	}
	taken := fmt.Sprintf(`{"metadata":{"name":"b"},"spec":{"clusterIP":%q,"ports":[{"port":80}]}}`, a.Spec.ClusterIP)
	var st metav1.Status
	mustCall(t, s, 422, "POST", path, "", taken, &st)
	if !strings.Contains(st.Message, "provided IP is already allocated") {
		t.Error(st.Message)
	}
	mustCall(t, s, 422, "POST", path, "", fmt.Sprintf(`{"metadata":{"name":"b"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":%d}]}}`, a.Spec.Ports[0].NodePort), nil)
	mustCall(t, s, 422, "POST", path, "", `{"metadata":{"name":"b"},"spec":{"clusterIP":"192.0.2.7","ports":[{"port":80}]}}`, nil)
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"h"},"spec":{"clusterIP":"None","selector":{"a":"b"},"ports":[{"port":80}]}}`, &b)
	if b.Spec.ClusterIP != "None" || b.Spec.ClusterIPs[0] != "None" {
		t.Errorf("headless: %+v", b.Spec)
	}
	mustCall(t, s, 201, "POST", path, "", `{"metadata":{"name":"e"},"spec":{"type":"ExternalName","externalName":"example.com"}}`, &b)
	var ext core.Service
	mustCall(t, s, 200, "GET", path+"/e", "", nil, &ext)
	if ext.Spec.ClusterIP != "" || len(ext.Spec.IPFamilies) > 0 {
		t.Errorf("external name: %+v", ext.Spec)
	}
	// A PUT that leaves out what was allocated keeps it.
	mustCall(t, s, 200, "PUT", path+"/a", "", `{"metadata":{"name":"a"},"spec":{"type":"NodePort","ports":[{"name":"t","port":53,"protocol":"TCP"}]}}`, &b)
	if b.Spec.ClusterIP != a.Spec.ClusterIP || b.Spec.Ports[0].NodePort != a.Spec.Ports[0].NodePort {
		t.Errorf("after an update: %+v", b.Spec)
	}
	mustCall(t, s, 200, "DELETE", path+"/a", "", nil, nil)
	for try := 0; ; try++ { // the address is free again as soon as the allocator has seen the delete
		if call(t, s, "POST", path, "", taken, nil) == 201 {
			break
		}
		if try == 100 {
			t.Fatal("the address of a deleted service is not given back")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestForms(t *testing.T) {
	s := apitest.Start(t)
	mustCall(t, s, 201, "POST", cms, "application/yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: yy\ndata:\n  a: b\n", nil)
	get := func(path, accept string) (string, string, int) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), res.Header.Get("Content-Type"), res.StatusCode
	}
	for _, c := range []struct{ path, accept, kind, holds string }{
		{cms + "/yy", "application/yaml", "application/yaml", "data:\n  a: b\n"},
		{cms, "application/yaml", "application/yaml", "kind: ConfigMapList"},
		{cms + "/yy", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00"},
		{cms, "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf", "ConfigMapList"},
		{cms, "application/json;as=Table;g=meta.k8s.io;v=v1", "application/json", `"columnDefinitions":[{"name":"Name"`},
		{cms + "/yy", "application/json;as=Table;g=meta.k8s.io;v=v1,application/json", "application/json", `"cells":["yy",1,`},
		{cms, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "application/json", `"kind":"PartialObjectMetadataList"`},
		{cms + "/yy", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "application/json", `"kind":"PartialObjectMetadata"`},
		{cms + "/yy", "application/json", "application/json", `{"kind":"ConfigMap"`},
		{cms, "application/json", "application/json", `{"kind":"ConfigMapList"`},
		{cms + "/yy?pretty=true", "", "application/json", "{\n  \"kind\": \"ConfigMap\""},
		{"/apis/apps/v1?pretty=true", "", "application/json", "{\n  \"kind\": \"APIResourceList\""},
		{"/apis/apps/v1", "", "application/json", `{"kind":"APIResourceList"`},
	} {
		body, kind, code := get(c.path, c.accept)
		if code != 200 || kind != c.kind || !strings.Contains(body, c.holds) {
			t.Errorf("%s as %s: %d %s %.200q, want %q", c.path, c.accept, code, kind, body, c.holds)
		}
		end := "}\n"
		if strings.HasPrefix(body, "{\n") { // what humans read has none
			end = "\n}"
		}
		if kind == "application/json" && !strings.HasSuffix(body, end) {
			t.Errorf("%s as %s: ends with %q", c.path, c.accept, body[len(body)-3:])
		}
	}
	if _, _, code := get(cms, "text/html"); code != 406 {
		t.Errorf("text/html: %d", code)
	}
	if body, _, _ := get("/version", ""); !strings.Contains(body, `"minor": "37"`) {
		t.Errorf("version: %s", body)
	}
	if body, _, code := get("/readyz?verbose", ""); code != 200 || !strings.Contains(body, "[+]etcd ok") || !strings.HasSuffix(body, "readyz check passed\n") {
		t.Errorf("readyz: %d %s", code, body)
	}
	if _, _, code := get("/livez/etcd", ""); code != 200 {
		t.Errorf("livez/etcd: %d", code)
	}
	if body, _, _ := get("/metrics", ""); !strings.Contains(body, `apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1"} 1`) {
		t.Errorf("metrics: %s", body)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
		strings.NewReader(`{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 406 {
		t.Errorf("a review as a table: %d", res.StatusCode)
	}
}

func TestIdentity(t *testing.T) {
	s := apitest.Start(t)
	as := func(token, method, path string, header ...string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var v struct {
			Message string
			Status  struct{ UserInfo struct{ Username string } }
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(b, &v) != nil {
			var st metav1.Status
			if err := json.Unmarshal(b, &st); err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, st.Message
		}
		return res.StatusCode, v.Message + v.Status.UserInfo.Username
	}
	const whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	if code, text := as("bad", "GET", cms); code != 401 || text != "Unauthorized" {
		t.Errorf("bad token: %d %s", code, text)
	}
	want := `configmaps "x" is forbidden: User "nobody" cannot get resource "configmaps" in API group "" in the namespace "default"`
	if code, text := as("nobody", "GET", cms+"/x"); code != 403 || text != want {
		t.Errorf("nobody: %d %s", code, text)
	}
	if code, text := as("bob,dev", "POST", whoami); code != 201 || text != "bob" {
		t.Errorf("bob: %d %s", code, text)
	}
	if code, text := as("bob,dev", "POST", whoami, "Impersonate-User", "eve"); code != 201 || text != "eve" {
		t.Errorf("bob as eve: %d %s", code, text)
	}
}

// Of several objects that cannot be deleted, the first one is told of.
func TestDeleteCollectionFailsInOrder(t *testing.T) {
	s := apitest.Start(t)
	for i := range 20 {
		mustCall(t, s, 201, "POST", cms, "", newConfigMap(fmt.Sprintf("m%02d", i), ""), nil)
	}
	for range 5 {
		var st metav1.Status
		mustCall(t, s, 409, "DELETE", cms, "", `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"another"}}`, &st)
		if !strings.Contains(st.Message, `"m00"`) {
			t.Errorf("got %s", st.Message)
		}
	}
}
