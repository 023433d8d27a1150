package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
)

// TestHealthPages checks the pages of health and their parts.
func TestHealthPages(t *testing.T) {
	failing := false
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Checks = map[string]func(context.Context) error{"kms-providers": func(context.Context) error {
			if failing {
				return errors.New("the key is lost")
			}
			return nil
		}}
	})
	check := func(path string, code int, want string) {
		t.Helper()
		resp, body, err := ask(t, "GET", s.URL+path, "", nil)
		if err != nil || resp.StatusCode != code || body != want {
			t.Errorf("%s: got %d %q, %v, want %d %q", path, resp.StatusCode, body, err, code, want)
		}
	}
	lines := func(path string) []string {
		t.Helper()
		_, body, _ := ask(t, "GET", s.URL+path, "", nil)
		return strings.Split(body, "\n")
	}
	for _, page := range []string{"healthz", "livez", "readyz"} {
		check("/"+page, 200, "ok")
		check("/"+page+"?exclude=nope", 200, "ok")
		check("/"+page+"/", 404, "404 page not found\n")
		check("/"+page+"/nope", 404, "404 page not found\n")
		check("/"+page+"/ping/", 404, "404 page not found\n")
		check("/"+page+"/poststarthook/crd-informer-synced?verbose", 200, "ok")
		got := lines("/" + page + "?verbose&exclude=nope&exclude=ping&exclude=a")
		end := []string{`warn: some health checks cannot be excluded: no matches for "a","nope"`, page + " check passed", ""}
		if got[0] != "[+]ping excluded: ok" || got[1] != "[+]log ok" || got[2] != "[+]etcd ok" || !slices.Equal(got[len(got)-3:], end) {
			t.Errorf("%s: got %q", page, got)
		}
	}
	check("/readyz/shutdown", 200, "ok")
	check("/livez/shutdown", 404, "404 page not found\n")
	failing = true
	got := lines("/livez")
	if !slices.Contains(got, "[-]kms-providers failed: reason withheld") || got[len(got)-2] != "livez check failed" {
		t.Errorf("got %q", got)
	}
	check("/livez?exclude=kms-providers", 200, "ok")
	check("/livez/kms-providers", 500, "internal server error: the key is lost\n")
	metrics := lines("/metrics/slis")
	for _, want := range []string{`kubernetes_healthcheck{name="kms-providers",type="livez"} 0`, `kubernetes_healthchecks_total{name="kms-providers",status="error",type="livez"} 1`, `kubernetes_healthcheck{name="ping",type="readyz"} 1`} {
		if !slices.Contains(metrics, want) {
			t.Errorf("no %s in %q", want, metrics)
		}
	}
	_, body, _ := ask(t, "GET", s.URL+"/", "", nil)
	var index struct{ Paths []string }
	if err := json.Unmarshal([]byte(body), &index); err != nil || !slices.Contains(index.Paths, "/livez/etcd") || !slices.Contains(index.Paths, "/metrics/slis") {
		t.Errorf("got %s, %v", body, err)
	}
}
