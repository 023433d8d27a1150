package apiserver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/kit/prom"
)

// metricsOf is the lines of /metrics.
func metricsOf(t *testing.T, s *apitest.Server) map[string]string {
	t.Helper()
	_, body, err := ask(t, "GET", s.URL+"/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if _, twice := out[line[:i]]; twice {
			t.Errorf("%s stands there twice", line[:i])
		}
		out[line[:i]] = line[i+1:]
	}
	return out
}

// TestMetrics checks names and labels that dashboards and alerts are made of.
func TestMetrics(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Metrics = append(d.Metrics, func(p *prom.Page) {
			p.Head("more_total", "counter", "More.")
			p.Value("", 7)
		})
	})
	const maps = "/api/v1/namespaces/default/configmaps"
	for _, r := range []struct{ method, path, body string }{
		{"POST", maps, `{"metadata":{"name":"a"}}`}, {"POST", maps + "?dryRun=All", `{"metadata":{"name":"b"}}`}, {"GET", maps + "/a", ""}, {"GET", maps + "/nope", ""},
		{"GET", maps, ""}, {"GET", "/api/v1/configmaps", ""}, {"DELETE", maps + "/a", ""}, {"DELETE", maps, ""}, {"GET", "/healthz", ""}, {"GET", "/api/v1/bogus", ""},
		{"GET", "/api/v1/componentstatuses", ""}, {"GET", maps + "?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan", ""},
	} {
		if _, _, err := ask(t, r.method, s.URL+r.path, "", strings.NewReader(r.body)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _, _, _ = ask(t, "GET", s.URL+"/api/v1/pods?watch=1", "", nil) }()
	const of = `component="apiserver",dry_run="",group="",resource="configmaps",`
	open := `apiserver_longrunning_requests{component="apiserver",group="",resource="pods",scope="cluster",subresource="",verb="WATCH",version="v1"}`
	var got map[string]string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got = metricsOf(t, s); got[open] == "1" || time.Now().After(end) || ctx.Err() != nil {
			break
		}
	}
	for name, want := range map[string]string{
		open: "1",
		`apiserver_request_total{code="201",` + of + `scope="resource",subresource="",verb="POST",version="v1"}`:                                                     "1",
		`apiserver_request_total{code="201",` + strings.Replace(of, `dry_run=""`, `dry_run="All"`, 1) + `scope="resource",subresource="",verb="POST",version="v1"}`:  "1",
		`apiserver_request_total{code="404",` + of + `scope="resource",subresource="",verb="GET",version="v1"}`:                                                      "1",
		`apiserver_request_total{code="200",` + of + `scope="namespace",subresource="",verb="LIST",version="v1"}`:                                                    "1",
		`apiserver_request_total{code="200",` + of + `scope="cluster",subresource="",verb="LIST",version="v1"}`:                                                      "1",
		`apiserver_request_total{code="200",` + of + `scope="namespace",subresource="",verb="DELETE",version="v1"}`:                                                  "1",
		`apiserver_request_total{code="200",` + of + `scope="namespace",subresource="",verb="WATCH",version="v1"}`:                                                   "1",
		`apiserver_request_total{code="200",component="",dry_run="",group="",resource="",scope="",subresource="/healthz",verb="GET",version=""}`:                     "1",
		`apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="",scope="cluster",subresource="",verb="LIST",version=""}`:            "1",
		`apiserver_request_duration_seconds_count{` + of + `scope="namespace",subresource="",verb="LIST",version="v1"}`:                                              "1",
		`apiserver_request_duration_seconds_bucket{` + of + `scope="namespace",subresource="",verb="LIST",version="v1",le="60"}`:                                     "1",
		`apiserver_response_sizes_bucket{component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="LIST",version="v1",le="10000"}`: "1",
		`apiserver_watch_events_total{group="",resource="configmaps",version="v1"}`:                                                                                  "1",
		`apiserver_watch_list_duration_seconds_count{group="",resource="configmaps",scope="namespace",version="v1"}`:                                                 "1",
		`apiserver_admission_step_admission_duration_seconds_count{operation="DELETE",rejected="false",type="validate"}`:                                             "1",
		`apiserver_admission_controller_admission_duration_seconds_count{name="NamespaceLifecycle",operation="DELETE",rejected="false",type="admit"}`:                "1",
		`apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"}`:                                  "1",
		`apiserver_resource_objects{group="apps",resource="deployments"}`:                                                                                            "0",
		`apiserver_storage_objects{resource="deployments.apps"}`:                                                                                                     "0",
		`etcd_request_duration_seconds_count{group="",operation="create",resource="configmaps"}`:                                                                     "1",
		`apiserver_storage_events_received_total{group="",resource="configmaps"}`:                                                                                    "2",
		`apiserver_flowcontrol_current_executing_requests{flow_schema="catch-all",priority_level="catch-all"}`:                                                       "0",
		`more_total`: "7",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %s", name, got[name], want)
		}
	}
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines", "process_start_time_seconds"} {
		if got[name] == "" {
			t.Errorf("no %s", name)
		}
	}
}
