package inspect

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func get(h http.Handler, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStatusz(t *testing.T) {
	started := time.Now().Add(-3*time.Hour - 2*time.Minute - time.Second)
	h := Statusz("apiserver", Build{Started: started, Version: "1.37.2", Emulation: "1.37", Paths: []string{"/healthz", "/metrics"}})
	for _, accept := range []string{"", "*/*", "text/plain", "text/html, text/plain;q=0.5"} {
		w := get(h, "/statusz", accept)
		want := regexp.MustCompile("^\napiserver statusz\nWarning: .* only\\.\n\nStarted: .* UTC \\d+\nUp: 3 hr 02 min 0\\d sec\nGo version: go.*\nBinary version: 1.37.2\nEmulation version: 1.37\nPaths: /healthz /metrics\n$")
		if w.Code != 200 || !want.MatchString(w.Body.String()) {
			t.Errorf("%q: got %d %s", accept, w.Code, w.Body)
		}
	}
	w := get(h, "/statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Statusz")
	var got struct {
		Kind, APIVersion, BinaryVersion string
		UptimeSeconds                   int64
		Paths                           []string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != "Statusz" || got.APIVersion != "config.k8s.io/v1beta1" || got.BinaryVersion != "1.37.2" || got.UptimeSeconds < 3*3600 || len(got.Paths) != 2 {
		t.Errorf("got %s", w.Body)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json;g=config.k8s.io;v=v1beta1;as=Statusz" || w.Header().Get("Warning") != "" {
		t.Errorf("got headers %v", w.Header())
	}
	for _, accept := range []string{"application/json", "text/html", "application/json;as=Statusz", "application/json;v=v1;g=config.k8s.io;as=Statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz"} {
		if w := get(h, "/statusz", accept); w.Code != 406 || !strings.Contains(w.Body.String(), `"message":"only the following media types are accepted: application/json, application/yaml, text/plain"`) {
			t.Errorf("%q: got %d %s", accept, w.Code, w.Body)
		}
	}
}

func TestFlagz(t *testing.T) {
	h := Flagz("apiserver", func() map[string]string { return map[string]string{"b": "2", "a": ""} })
	if w := get(h, "/flagz", ""); !strings.HasSuffix(w.Body.String(), "only.\na: \nb: 2\n") {
		t.Errorf("got %q", w.Body)
	}
	w := get(h, "/flagz", "application/yaml;v=v1alpha1;g=config.k8s.io;as=Flagz")
	if want := "apiVersion: config.k8s.io/v1alpha1\nflags:\n  a: \"\"\n  b: \"2\"\nkind: Flagz\nmetadata:\n  name: apiserver\n"; w.Body.String() != want {
		t.Errorf("got %q", w.Body)
	}
	if got := w.Header().Get("Warning"); got != `299 - "This version of the flagz endpoint is deprecated. Please use a newer version."` {
		t.Errorf("got warning %q", got)
	}
}

func TestProfiles(t *testing.T) {
	all := Profiles()
	if w := get(all["/debug/pprof/"], "/debug/pprof/goroutine?debug=1", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile: total") {
		t.Errorf("got %d %.100s", w.Code, w.Body)
	}
	if w := get(all["/debug/pprof/"], "/debug/pprof/cmdline", ""); w.Code != 404 {
		t.Errorf("the command line is shown: %d %s", w.Code, w.Body)
	}
}
