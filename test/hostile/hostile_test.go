package hostile

import (
	"bytes"
	"context"
	"flag"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver"
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/certificates"
	"proa.dev/apiserver/admission/ingressclass"
	"proa.dev/apiserver/admission/limitranger"
	"proa.dev/apiserver/admission/nodes"
	"proa.dev/apiserver/admission/podsecurity"
	"proa.dev/apiserver/admission/policy"
	"proa.dev/apiserver/admission/resourcequota"
	"proa.dev/apiserver/admission/volumes"
	"proa.dev/apiserver/admission/webhook"
	"proa.dev/apiserver/apitest"
	"proa.dev/kinds"
	"proa.dev/kinds/all"
)

var (
	requests = flag.Int("requests", 4000, "how many requests to send")
	from     = flag.Uint64("seed", 1, "where the random requests begin")
)

// mayStay is how much more memory may be in use at the end than at a tenth of the way, in bytes: what is stored is little and bounded by
// its names.
const mayStay = 64 << 20

// server is an API server with every part of admission.
func server(t *testing.T) http.Handler {
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Plugins = []admission.Plugin{certificates.New, limitranger.New, nodes.New, podsecurity.New, volumes.New, webhook.New, ingressclass.New, policy.New, resourcequota.New}
	})
	return s.Handler()
}

// seeds are the objects in the golden files of the kinds, and an empty one of every kind.
func seeds(t *testing.T) (out []seed) {
	t.Helper()
	byKind := map[string]*kinds.Kind{}
	for _, k := range all.Kinds() {
		gvk := k.GVK()
		byKind[gvk.GroupVersion().String()+" "+gvk.Kind] = k
		out = append(out, seed{k, map[string]any{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind, "metadata": map[string]any{"name": "a"}, "spec": map[string]any{}}, "a"})
	}
	files, err := filepath.Glob("../../kinds/all/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			var tree map[string]any
			if !strings.HasSuffix(f.Name, ".yaml") || yaml.Unmarshal(f.Data, &tree) != nil {
				continue
			}
			version, _ := tree["apiVersion"].(string)
			kind, _ := tree["kind"].(string)
			meta, _ := tree["metadata"].(map[string]any)
			if k := byKind[version+" "+kind]; k != nil && meta != nil {
				delete(meta, "namespace")
				delete(meta, "resourceVersion")
				name, _ := meta["name"].(string)
				out = append(out, seed{k, tree, name})
			}
		}
	}
	if len(out) < 200 {
		t.Fatalf("only %d objects to begin with", len(out))
	}
	return out
}

// send sends a request, and returns the code and the body of the answer.
func send(h http.Handler, q request) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	if strings.Contains(q.path, "watch=") { // ends when nothing more is to come
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	}
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, q.method, "http://proa/", bytes.NewReader(q.body))
	path, query, _ := strings.Cut(q.path, "?")
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.RequestURI = strings.ReplaceAll(path, "%2F", "/"), path, query, q.path
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// known are the messages that Kubernetes 1.36 answers the same requests with, and also with 500.
var known = []string{
	"resourceVersion should not be set on objects to be created", // a create with a resourceVersion
	"resourceVersion: Invalid value: ",                           // an update, a patch, a get or a watch with one that is no number
	"target.name: Required value",                                // a binding to nothing
	"etcdserver: request timed out",                              // where the disk is too slow
}

func wrong(code int, answer string) bool {
	if code < 500 || code == http.StatusNotImplemented || code == http.StatusGatewayTimeout {
		return false
	}
	for _, k := range known {
		if strings.Contains(answer, k) {
			return false
		}
	}
	return true
}

func TestHostileRequests(t *testing.T) {
	h, objects := server(t), seeds(t)
	var early uint64
	codes := map[int]int{}
	var mu sync.Mutex // guards codes
	const workers = 4
	failed := 0
	run := func(begin, end uint64) {
		var wg sync.WaitGroup
		for w := range uint64(workers) {
			wg.Go(func() {
				for n := begin + w; n < end; n += workers {
					q := next(rand.New(rand.NewPCG(*from, n)), objects)
					began := time.Now()
					code, answer := send(h, q)
					mu.Lock()
					codes[code]++
					if wrong(code, answer) && failed < 20 {
						failed++
						t.Errorf("seed %d, request %d: %s\nanswered %d: %.1500s", *from, n, q, code, answer)
					}
					if took := time.Since(began); took > time.Minute {
						t.Errorf("seed %d, request %d: %s\ntook %v", *from, n, q, took)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	tenth := uint64(*requests / 10)
	run(0, tenth)
	early = inUse()
	run(tenth, uint64(*requests))
	if late := inUse(); late > early+mayStay {
		t.Errorf("%d MB in use after all requests, %d MB after a tenth of them", late>>20, early>>20)
	}
	t.Logf("%d requests: %v", *requests, codes)
	if codes[http.StatusCreated] == 0 || codes[http.StatusUnprocessableEntity] == 0 || codes[http.StatusBadRequest] == 0 {
		t.Errorf("the requests reach too little: %v", codes)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestBombs(t *testing.T) {
	h := server(t)
	for name, body := range bombs() {
		for _, kind := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/apply-patch+yaml",
			"application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json"} {
			q := request{"POST", "/api/v1/namespaces/default/configmaps?dryRun=All", map[string]string{"Content-Type": kind}, []byte(body)}
			if strings.Contains(kind, "patch") {
				q.method, q.path = "PATCH", "/api/v1/namespaces/default/configmaps/a?dryRun=All&fieldManager=m"
			}
			before := allocated()
			began := time.Now()
			code, answer := send(h, q)
			took, cost := time.Since(began), allocated()-before
			if wrong(code, answer) || code < 400 && name != "many keys" {
				t.Errorf("%s as %s: %d %.300s", name, kind, code, answer)
			}
			if took > 30*time.Second || cost > 512<<20 {
				t.Errorf("%s as %s: took %v and %d MB", name, kind, took, cost>>20)
			}
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
