package audit

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"proa.dev/apiserver/authn"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestPolicyMistakesNameTheirLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{head, "p.yaml: loaded illegal policy with 0 rules"},
		{"apiVersion: v1\nkind: Policy\n", `p.yaml: it is apiVersion "v1", kind "Policy"; want audit.k8s.io/v1, Policy`},
		{head + "rules:\n- level: Metadata\n  verb: [get]\n", `p.yaml:5: unknown key "verb" of a rule`},
		{head + "rules:\n- verbs: [get]\n", "p.yaml:4: rules[0].level: Required value"},
		{head + "rules:\n- level: None\n- level: All\n", `p.yaml:5: rules[1].level: Unsupported value: "All": supported values: "Metadata", "None", "Request", "RequestResponse"`},
		{head + "omitStages: [Started]\nrules: [{level: None}]\n", `p.yaml:3: omitStages[0]: Invalid value: "Started": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic`},
		{head + "rules:\n- {level: None, nonResourceURLs: [healthz]}\n", `p.yaml:4: rules[0].nonResourceURLs[0]: Invalid value: "healthz": non-resource URL rules must begin with a '/' character`},
		{head + "rules:\n- {level: None, nonResourceURLs: [/a*b]}\n", "must be the final character of the rule"},
		{head + "rules:\n- {level: None, nonResourceURLs: [/a], namespaces: [b]}\n", "rules cannot apply to both regular resources and non-resource URLs"},
		{head + "rules:\n- {level: None, resources: [{group: a/v1}]}\n", `rules[0].resources.group: Invalid value: "a/v1"`},
		{head + "rules:\n- {level: None, resources: [{resourceNames: [x]}]}\n", "using resourceNames requires at least one resource"},
		{head + "rules: [{level: [None]}]\n", "p.yaml:3: cannot unmarshal"},
		{head + "rules: [{level: None}]\n---\na: b\n", "p.yaml: more than one document"},
	} {
		_, err := ParsePolicy("p.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

func TestPolicyDecides(t *testing.T) {
	p, err := ParsePolicy("p", []byte(head+`
metadata: {name: anything}
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- {level: None, userGroups: [system:authenticated], nonResourceURLs: ["/api*", /version]}
- {level: Request, resources: [{group: "", resources: [configmaps]}], namespaces: [kube-system]}
- {level: Metadata, resources: [{group: "", resources: [secrets, pods/log, "*/scale", "nodes/*"]}], omitStages: [ResponseStarted]}
- {level: RequestResponse, resources: [{group: apps, resources: ["*"], resourceNames: [web]}], omitManagedFields: true}
- {level: Metadata, namespaces: [""]}
`))
	if err != nil {
		t.Fatal(err)
	}
	anna := authn.User{Name: "anna", Groups: []string{"system:authenticated"}}
	of := func(group, resource, sub, ns, name string) Attributes {
		return Attributes{User: anna, Known: true, Verb: "get", Resource: true, Object: Object{APIGroup: group, Resource: resource, Subresource: sub, Namespace: ns, Name: name}}
	}
	proxy := of("", "services", "", "", "")
	proxy.User.Name, proxy.Verb = "system:kube-proxy", "watch"
	path := func(p string) Attributes { return Attributes{User: anna, Known: true, Verb: "get", Path: p} }
	for _, tt := range []struct {
		name string
		a    Attributes
		want Level
	}{
		{"by user, verb and resource", proxy, None},
		{"by path", path("/apis/apps"), None},
		{"no rule", path("/healthz"), None},
		{"by namespace", of("", "configmaps", "", "kube-system", "x"), Request},
		{"another namespace", of("", "configmaps", "", "default", "x"), None},
		{"cluster scope", of("", "persistentvolumes", "", "", "x"), Metadata},
		{"with subresource", of("", "pods", "log", "a", "x"), Metadata},
		{"without it", of("", "pods", "", "a", "x"), None},
		{"any with this subresource", of("", "replicationcontrollers", "scale", "a", "x"), Metadata},
		{"all subresources", of("", "nodes", "proxy", "", "x"), Metadata},
		{"by name", of("apps", "deployments", "", "a", "web"), RequestResponse},
		{"another name", of("apps", "deployments", "", "a", "db"), None},
	} {
		if d := p.decide(&tt.a); d.level != tt.want || d.level != None && !d.omits(RequestReceived) || d.bare != (d.level == RequestResponse) {
			t.Errorf("%s: %+v, want %s", tt.name, d, tt.want)
		}
	}
	a := of("", "secrets", "", "a", "x")
	if d := p.decide(&a); !d.omits(ResponseStarted) || d.omits(ResponseComplete) {
		t.Errorf("stages of a rule: %+v", d)
	}
}

func TestNothingIsAuditedWithoutALog(t *testing.T) {
	var l *Log
	ctx, r := l.Begin(t.Context(), &Attributes{}, &Event{})
	Annotate(ctx, "a", "b")
	if r != nil || Audits(ctx) || r.Stage(Panic) != nil || r.Wants(Metadata) {
		t.Error("a Log that is not there writes")
	}
	if n := testing.AllocsPerRun(100, func() { Annotate(ctx, "a", "b") }); n != 0 {
		t.Errorf("an annotation for nobody takes %v allocations", n)
	}
}

// keep is a sink for tests.
type keep struct {
	batches [][]*Event
	err     error
}

func (k *keep) Write(e []*Event) error { k.batches = append(k.batches, e); return k.err }

func TestAnnotationsKeepTheirFirstValue(t *testing.T) {
	k := &keep{}
	l := New(Config{Policy: &Policy{Rules: []Rule{{Level: Metadata}}}, Sinks: []Sink{k}})
	ctx, r := l.Begin(t.Context(), &Attributes{}, &Event{AuditID: "1"})
	Annotate(ctx, "a", "1")
	_ = r.Stage(ResponseStarted)
	Annotate(ctx, "a", "2")
	Annotate(ctx, "b", "3")
	_ = r.Stage(ResponseComplete)
	first, second := k.batches[0][0].Annotations, k.batches[1][0].Annotations
	if len(first) != 1 || first["a"] != "1" || len(second) != 2 || second["a"] != "1" || second["b"] != "3" {
		t.Errorf("%v, %v", first, second)
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFile(FileConfig{Path: filepath.Join(dir, "sub", "audit.log"), MaxSize: 2000, MaxBackups: 2, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	const events = 60
	for i := range events {
		if err := f.Write([]*Event{{AuditID: strings.Repeat("x", 100), Verb: string(rune('a' + i%26))}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // so that names differ: they have milliseconds
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(filepath.Join(dir, "sub"))
	if err != nil {
		t.Fatal(err)
	}
	zipped, lines := 0, 0
	for _, n := range names {
		data, err := os.ReadFile(filepath.Join(dir, "sub", n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n.Name(), ".gz") {
			zipped++
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		for line := range bytes.Lines(data) {
			if !json.Valid(line) {
				t.Fatalf("%s: %s", n.Name(), line)
			}
			lines++
		}
	}
	if zipped != 2 || len(names) != 3 || lines < 12 || lines >= events {
		t.Errorf("%d files, %d of them compressed, %d lines", len(names), zipped, lines)
	}
}

func TestBatchGathersAndFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keep{}
		b := NewBatch(k, Limits{Buffer: 5, Size: 3, MaxWait: time.Second}, func([]*Event, error) { t.Error("lost") })
		for range 5 {
			if err := b.Write([]*Event{{}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Write([]*Event{{}}); !errors.Is(err, errFull) {
			t.Errorf("a full buffer: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		synctest.Wait()
		if len(k.batches) != 1 || len(k.batches[0]) != 3 {
			t.Fatalf("at once: %d batches", len(k.batches))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(k.batches) != 2 || len(k.batches[1]) != 2 {
			t.Fatalf("after the wait: %d batches", len(k.batches))
		}
		_ = b.Write([]*Event{{}})
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		_ = b.Write([]*Event{{}})
		n := 0
		for _, batch := range k.batches {
			n += len(batch)
		}
		if n != 7 {
			t.Errorf("%d events, want 7", n)
		}
	})
}

func TestWebhookTriesAgain(t *testing.T) {
	var tries atomic.Int32
	var list struct {
		Kind, APIVersion string
		Items            []Event
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch tries.Add(1) {
		case 1:
			http.Error(w, "no", http.StatusServiceUnavailable)
		case 2:
			if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
				t.Error(err)
			}
		default:
			http.Error(w, "never", http.StatusBadRequest)
		}
	}))
	defer srv.Close()
	w := &Webhook{URL: srv.URL, Client: srv.Client(), Backoff: time.Millisecond}
	if err := w.Write([]*Event{{AuditID: "1"}, {AuditID: "2"}}); err != nil {
		t.Fatal(err)
	}
	if list.Kind != "EventList" || list.APIVersion != "audit.k8s.io/v1" || len(list.Items) != 2 || list.Items[1].AuditID != "2" {
		t.Errorf("posted %+v", list)
	}
	if err := w.Write([]*Event{{}}); err == nil || tries.Load() != 3 {
		t.Errorf("a 400: %v after %d tries in all", err, tries.Load())
	}
}

func TestTruncate(t *testing.T) {
	k := &keep{}
	tr := Truncate{To: k, MaxEvent: 1000, MaxBatch: 1500}
	big := json.RawMessage(`"` + strings.Repeat("x", 2000) + `"`)
	in := []*Event{{AuditID: "1", ResponseObject: big}, {AuditID: "2"}, {AuditID: "3", UserAgent: strings.Repeat("y", 900)}, {AuditID: "4"}}
	if err := tr.Write(in); err == nil {
		t.Error("the event that is too large in any case was written")
	}
	var got []string
	for _, b := range k.batches {
		for _, e := range b {
			got = append(got, e.AuditID+e.Annotations["audit.k8s.io/truncated"])
		}
	}
	if strings.Join(got, " ") != "1true 2 4" || in[0].ResponseObject == nil || in[0].Annotations != nil {
		t.Errorf("got %v; the original is %+v", got, in[0])
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(head + "rules: [{level: None, nonResourceURLs: [/a*]}]\n"))
	f.Add([]byte("rules:\n- {}\n- level: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := ParsePolicy("p", data); err == nil {
			p.decide(&Attributes{Resource: true, Object: Object{Resource: "pods"}})
		}
	})
}
