package hostile

import (
	"flag"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"proa.dev/kinds"
	"proa.dev/kinds/all"
)

var (
	requests = flag.Int("requests", 4000, "how many requests to send")
	from     = flag.Uint64("seed", 1, "where the random requests begin")
	workers  = flag.Uint64("workers", 4, "how many send at once")
	address  = flag.String("server", "", "URL of a running server to send them to, instead of one that the test starts")
	cert     = flag.String("cert", "", "file of the certificate of an administrator of -server")
	key      = flag.String("key", "", "file of its key")
)

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

// known are the messages that Kubernetes 1.36 answers the same requests with, and also with 500.
var known = []string{
	"resourceVersion should not be set on objects to be created", // a create with a resourceVersion
	"resourceVersion: Invalid value: ",                           // an update, a patch, a get or a watch with one that is no number
	"does not contain declared merge key: ",                      // or whose items lack their key
	"target.kind: Unsupported value: ",                           // a binding to something else
	"target.name: Required value",                                // a binding to nothing
	"target.name: Invalid value: ",                               // or to what no node can be called
	"failed to create typed patch object",                        // an apply whose fields the schema does not have
	"unknown patch type: ",                                       // a strategic merge patch whose $patch is none
	"list element types are not identical: ",                     // or whose lists hold this and that
	"unable to find api field in struct ",                        // one of a field that the type does not have
	"failed to convert new object",                               // an apply that is no object of its type
	"unable to determine kind and namespace from url",            // a watch of nothing, in the old way
	"strconv.ParseUint: parsing ",                                // an update with a resourceVersion that is no number
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
	to, objects := connected(t), seeds(t)
	codes, slowest := map[int]int{}, time.Duration(0)
	var mu sync.Mutex // guards codes, slowest and failed
	failed := 0
	run := func(begin, end uint64) {
		var wg sync.WaitGroup
		for w := range *workers {
			wg.Go(func() {
				for n := begin + w; n < end; n += *workers {
					q := next(rand.New(rand.NewPCG(*from, n)), objects)
					began := time.Now()
					code, answer := to.send(q, n)
					if code >= 500 && q.method == "HEAD" { // there is no body that says why
						q.method = "GET"
						code, answer = to.send(q, n)
					}
					took := time.Since(began)
					mu.Lock()
					codes[code]++
					slowest = max(slowest, took)
					if (wrong(code, answer) || took > time.Minute) && failed < 40 {
						failed++
						t.Errorf("seed %d, request %d: %s\nanswered %d after %v: %.1500s", *from, n, q, code, took, answer)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	var used []uint64 // after each tenth
	began := time.Now()
	for n := range uint64(10) {
		for _, ns := range []string{"default", "kube-system"} { // pods need them
			to.send(request{"POST", "/api/v1/namespaces/" + ns + "/serviceaccounts", map[string]string{"Content-Type": "application/json"}, []byte(`{"metadata":{"name":"default"}}`)}, 0)
		}
		run(uint64(*requests)*n/10, uint64(*requests)*(n+1)/10)
		used = append(used, to.memory(t))
		t.Logf("%d requests after %v: %d MB in use, slowest %v, %v", uint64(*requests)*(n+1)/10, time.Since(began).Round(time.Second), used[n]>>20, slowest, codes)
	}
	if used[9] > used[1]+mayStay {
		t.Errorf("%d MB in use after all requests, %d MB after a fifth of them", used[9]>>20, used[1]>>20)
	}
	if codes[http.StatusCreated] == 0 || codes[http.StatusUnprocessableEntity] == 0 || codes[http.StatusBadRequest] == 0 {
		t.Errorf("the requests reach too little: %v", codes)
	}
}

func TestBombs(t *testing.T) {
	to := connected(t)
	for name, body := range bombs() {
		for _, kind := range []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/apply-patch+yaml",
			"application/merge-patch+json", "application/json-patch+json", "application/strategic-merge-patch+json"} {
			q := request{"POST", "/api/v1/namespaces/default/configmaps?dryRun=All", map[string]string{"Content-Type": kind}, []byte(body)}
			if strings.Contains(kind, "patch") {
				q.method, q.path = "PATCH", "/api/v1/namespaces/default/configmaps/a?dryRun=All&fieldManager=m"
			}
			before := allocated()
			began := time.Now()
			code, answer := to.send(q, 0)
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
