package serve

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// journal is a journalctl that knows of kubelet.service and says what it is asked for.
const journal = `#!/bin/sh
if [ "$1" = --field ]; then echo kubelet.service; echo ssh.service; exit; fi
echo "journal: $*"
`

func logServer(t *testing.T) *Server {
	t.Helper()
	s, _, _ := setup(t)
	s.LogQuery, s.Journal, s.Proc = true, filepath.Join(t.TempDir(), "journalctl"), "/nonexistent"
	secret := filepath.Join(t.TempDir(), "secret")
	files := map[string]string{
		s.Journal: journal, secret: "secret", filepath.Join(s.Logs, "boot.log"): "booted\n", filepath.Join(s.Logs, "pods", "0.log"): "of a pod\n",
		filepath.Join(s.Logs, "plain"): "plain\n", filepath.Join(s.Logs, "deep", "deep.log"): "deep\n",
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"stolen": secret, "out": "../../../../../../../etc/passwd", "in": filepath.Join(s.Logs, "pods", "0.log"), "near": "boot.log"} {
		if err := os.Symlink(to, filepath.Join(s.Logs, name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestNodeLogs(t *testing.T) {
	s := logServer(t)
	long := strings.Repeat("a", 257)
	for _, c := range []struct {
		path string
		code int
		want string // all of it, or a part after "..."
	}{
		{"", 200, `...<a href="boot.log">boot.log</a>`},
		{"boot.log", 200, "booted\n"},
		{"pods/0.log", 200, "of a pod\n"},
		{"in", 200, "of a pod\n"}, // a link of its own kind: /var/log/containers has those
		{"near", 200, "booted\n"},
		{"stolen", 403, "...403"},
		{"out", 403, "...403"},
		{"nothing", 404, "...404"},
		{"?query=kubelet", 200, "journal: --utc --no-pager --output=short-precise --unit=kubelet\n"},
		{"?query=kubelet&query=ssh&tailLines=5&pattern=err.r&boot=-1", 200,
			"journal: --utc --no-pager --output=short-precise --pager-end --lines=5 --unit=kubelet --unit=ssh --grep=err.r --case-sensitive=false --boot -1\n"},
		{"?query=kubelet&sinceTime=2026-01-02T03:04:05%2B02:00&untilTime=2026-01-02T03:04:05Z", 200,
			"journal: --utc --no-pager --output=short-precise --since=2026-01-02 01:04:05 --until=2026-01-02 03:04:05 --unit=kubelet\n"},
		{"?query=boot", 200, "booted\n"},
		{"?query=plain", 200, "plain\n"},
		{"?query=deep", 200, "deep\n"},
		{"?query=stolen", 200, "...error getting log for stolen"},
		{"?query=unknown", 200, "\nlog not found for unknown\n"},
		{"?query=..", 200, "\nlog not found for ..\n"},
		{"?query=kubelet&query=boot", 200, "journal: --utc --no-pager --output=short-precise --unit=kubelet\nbooted\n"},
		{"?query=boot&tailLines=5", 200, "\noptions present and query resolved to log files for [boot]\ntry without specifying options\n"},
		{"?query=/boot.log", 200, "booted\n"},
		{"?query=pods/0.log", 200, "of a pod\n"},
		{`?query=pods\0.log`, 200, "of a pod\n"},
		{"?query=/../../etc/passwd", 406, `...query: Invalid value: ["/../../etc/passwd"]: openat etc/passwd: no such file`},
		{"?query=/stolen", 406, `...query: Invalid value: ["/stolen"]`},
		{"?query=", 400, "...query cannot be empty"},
		{"?query=%20%20", 400, "...query cannot be empty"},
		{"?tailLines=5", 406, "query: Required value: cannot be empty with options\n"},
		{"?query=kubelet&query=/boot.log", 406, `query: Invalid value: "[/boot.log], [kubelet]": cannot specify a file and service` + "\n"},
		{"?query=/boot.log&query=/plain", 406, "...cannot specify more than one file"},
		{"?query=/boot.log&boot=0", 406, "...cannot specify file with options"},
		{"?query=a&query=b&query=c&query=d&query=e", 406, "query: Too many: 5: must have at most 4 items\n"},
		{"?query=a%3Bb", 406, `query: Invalid value: "a;b": input contains unsupported characters` + "\n"},
		{"?query=" + long, 406, `query: Invalid value: "` + long + `": length must be less than 256` + "\n"},
		{"?query=kubelet&boot=1", 406, "boot: Invalid value: 1: must be less than 1\n"},
		{"?query=kubelet&boot=x", 400, `boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax` + "\n"},
		{"?query=kubelet&tailLines=100001", 406, "tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive\n"},
		{"?query=kubelet&tailLines=-1", 406, "tailLines: Invalid value: -1: must be between 0 and 100000, inclusive\n"},
		{"?query=kubelet&sinceTime=now", 400, `sinceTime: Invalid value: "now": invalid time format` + "\n"},
		{"?query=kubelet&sinceTime=2026-01-02T03:04:06Z&untilTime=2026-01-02T03:04:05Z", 406, "...must be after `sinceTime`"},
		{"?query=kubelet&pattern=(", 406, "...error parsing regexp: missing closing ): `(`"},
	} {
		code, body := ask(t, s, "GET", "/logs/"+c.path, "alice")
		part, isPart := strings.CutPrefix(c.want, "...")
		if code != c.code || !isPart && body != c.want || isPart && !strings.Contains(body, part) {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, body, c.code, c.want)
		}
	}
	s.Journal = "/nonexistent"
	if code, body := ask(t, s, "GET", "/logs/?query=kubelet", "alice"); code != 200 || body != "\nlog not found for kubelet\n" {
		t.Errorf("without a journal: %d %q", code, body)
	}
	s.LogQuery = false
	if code, body := ask(t, s, "GET", "/logs/boot.log?query=kubelet", "alice"); code != 200 || body != "booted\n" {
		t.Errorf("without queries: %d %q", code, body)
	}
	s.NoLogs = true
	if code, body := ask(t, s, "GET", "/logs/boot.log", "alice"); code != 405 || body != "logs endpoint is disabled.\n" {
		t.Errorf("without logs: %d %q", code, body)
	}
}

func TestNodeLogsCompressed(t *testing.T) {
	s := logServer(t)
	r := httptest.NewRequest("GET", "/logs/?query=plain", nil)
	r.Header.Set("Authorization", "Bearer alice")
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	gz, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(gz); err != nil || string(text) != "plain\n" || w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("%q, %v, %v", text, err, w.Header())
	}
}

// Whatever is asked, no option of journalctl's own comes from a name or a pattern.
func FuzzLogQuery(f *testing.F) {
	f.Add("query=kubelet&pattern=x&tailLines=3")
	f.Add("query=--file=/etc/shadow")
	f.Add("query=/a/../../b&boot=-3")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, errs := parseQuery(v)
		if q == nil || len(errs) > 0 || len(q.check(logDir("/nonexistent"))) > 0 {
			return
		}
		for _, arg := range q.command(q.services) {
			if known := strings.HasPrefix(arg, "--unit=") || strings.HasPrefix(arg, "--grep=") || strings.HasPrefix(arg, "--since=20") || strings.HasPrefix(arg, "--lines="); !known && strings.ContainsAny(arg, "/;|") {
				t.Errorf("%q gives %q", text, arg)
			}
		}
		for _, name := range q.files {
			if p := inLogs(name); strings.HasPrefix(p, "/") || strings.HasPrefix(p, "../") {
				t.Errorf("%q is %q", name, p)
			}
		}
	})
}

func TestHealthAndTheRest(t *testing.T) {
	s, h, _ := setup(t)
	s.Config = map[string]any{"kind": "KubeletConfiguration", "maxPods": 7}
	s.Pages = map[string]http.Handler{"/statusz": http.NotFoundHandler(), "/flagz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "flags") })}
	for _, c := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/healthz?verbose", 200, "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"},
		{"GET", "/healthz?verbose&exclude=syncloop", 200, "[+]ping ok\n[+]log ok\n[+]syncloop excluded: ok\nhealthz check passed\n"},
		{"GET", "/healthz/ping", 200, "ok"},
		{"GET", "/healthz/syncloop", 200, "ok"},
		{"GET", "/healthz/nothing", 404, "404 page not found\n"},
		{"GET", "/configz", 200, `{"kubeletconfig":{"kind":"KubeletConfiguration","maxPods":7}}`},
		{"POST", "/checkpoint/ns/web/waits", 500, "checkpointing of ns/web/waits failed (container waits not found)\n"},
		{"POST", "/checkpoint/ns/web/c?timeout=soon", 404, "cannot parse value of timeout parameter\n"},
		{"POST", "/checkpoint/ns/web/other", 404, "container other does not exist\n"},
		{"GET", "/flagz", 200, "flags"},
		{"PUT", "/debug/flags/v", 405, "flags endpoint is disabled.\n"},
	} {
		if code, body := ask(t, s, c.method, c.path, "alice"); code != c.code || body != c.want {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, code, body, c.code, c.want)
		}
	}
	if code, body := ask(t, s, "GET", "/debug/pprof/goroutine?debug=1", "alice"); code != 200 || !strings.HasPrefix(body, "goroutine profile:") {
		t.Errorf("goroutines: %d %.40q", code, body)
	}
	for path, sub := range map[string]string{"/checkpoint/ns/web/c": "checkpoint", "/statusz": "statusz", "/flagz": "configz", "/logs/": "log", "/debug/pprof/": "proxy"} {
		if code, body := ask(t, s, "GET", path, "bob"); code != 403 || !strings.Contains(body, "subresource(s)=["+sub+"]") {
			t.Errorf("%s as bob: %d %q", path, code, body)
		}
	}
	h.complete = make(chan struct{})
	h.pod.UID = types.UID("other")
	if code, body := ask(t, s, "GET", "/healthz", "alice"); code != 500 || body != "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n" {
		t.Errorf("just started: %d %q", code, body)
	}
}
