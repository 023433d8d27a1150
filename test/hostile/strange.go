package hostile

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// headers that nobody expects, and what is in them.
var headers = map[string][]string{
	"Impersonate-User":                   {"alice", "", "system:anonymous", "system:node:a", "system:serviceaccount:default:a", "system:serviceaccount:..:", "\xff", strings.Repeat("u", 9000), "system:masters"},
	"Impersonate-Group":                  {"system:masters", "", "dev", "system:authenticated"},
	"Impersonate-Uid":                    {"1", strings.Repeat("9", 5000)},
	"Impersonate-Extra-Scopes":           {"a", "", "\xfe"},
	"Impersonate-Extra-%2f%zz":           {"a"},
	"Impersonate-Extra-":                 {"a"},
	"Authorization":                      {"Bearer ", "Bearer x.y.z", "Basic YTpi", "Bearer " + strings.Repeat("a", 20000), "Negotiate", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.AA"},
	"Content-Encoding":                   {"gzip", "x", "gzip, gzip"},
	"Accept-Encoding":                    {"gzip", "gzip;q=0", "br, *;q=x", ";;"},
	"Range":                              {"bytes=0-1", "bytes=-", "x"},
	"If-None-Match":                      {"*", `"a"`, `W/"`},
	"If-Modified-Since":                  {"x", "Mon, 02 Jan 2006 15:04:05 GMT"},
	"Audit-Id":                           {strings.Repeat("i", 9000), "\xff", ""},
	"Traceparent":                        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x", "00-" + strings.Repeat("0", 9000)},
	"X-Forwarded-For":                    {"1.2.3.4", "[::1", strings.Repeat("1.2.3.4,", 2000)},
	"X-Real-Ip":                          {"x"},
	"X-Remote-User":                      {"admin"},
	"X-Remote-Group":                     {"system:masters"},
	"X-Http-Method-Override":             {"DELETE"},
	"Origin":                             {"http://evil.example", "null"},
	"User-Agent":                         {"", strings.Repeat("a", 9000), "%s%n", "kubectl/v9 (\xff)"},
	"Host":                               {"evil.example", "[::1]:0"},
	"Expect":                             {"100-continue", "x"},
	"Te":                                 {"trailers", "x"},
	"Cookie":                             {strings.Repeat("a=b;", 3000)},
	"Sec-Websocket-Protocol":             {"base64url.bearer.authorization.k8s.io.eA", "base64url.bearer.authorization.k8s.io.!", "v5.channel.k8s.io", strings.Repeat("a,", 2000)},
	"X-Stream-Protocol-Version":          {"v4.channel.k8s.io", "x", ""},
	"X-Kubernetes-Pf-Flowschema-Uid":     {"x"},
	"Warning":                            {`299 - "a"`},
	"X-" + strings.Repeat("Long", 2000):  {"a"},
	"Aa":                                 {strings.Repeat("z", 300000)},
	"Access-Control-Request-Method":      {"PUT"},
	"Strict-Transport-Security":          {"x"},
	"Content-Type":                       {"application/json;a=" + strings.Repeat("b", 3000), "application/json-patch+json; charset=utf-8", "\xff/\xff"},
	"Accept":                             {"application/json;stream=watch", "application/json;as=Table;as=Table", "*/json", "application/*;q=1.5", "\xff"},
	"Kubernetes-Impersonate-Constrained": {"1"},
}

// headerNames are the keys of headers, in an order that stays.
var headerNames = slices.Sorted(maps.Keys(headers))

// strange gives the request headers that nobody expects.
func (q *request) strange(r *rand.Rand) {
	for range 1 + r.IntN(3) {
		name := pick(r, headerNames)
		if q.header[name] == "" || name == "Accept" {
			q.header[name] = pick(r, headers[name])
		}
	}
}

// elsewhere asks for something that is no object.
func elsewhere(r *rand.Rand) request {
	paths := []string{"/", "/api", "/api/", "/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1", "/apis/apps/v9", "/apis/nope/v1/x", "/api/v1", "/api/v2/pods", "/version", "/version/", "/healthz", "/livez", "/readyz", "/livez/ping", "/readyz/etcd",
		"/livez/nope", "/openapi/v3", "/openapi/v3/nope", "/openapi/v3/../..", "/metrics/slis", "/metrics/cadvisor", "/debug/pprof/", "/debug/pprof/nope", "/debug/pprof/cmdline", "/debug/flags/v",
		"/debug/api_priority_and_fairness/dump_requests", "/debug/api_priority_and_fairness/nope", "/.well-known/openid-configuration", "/openid/v1/jwks", "/logs", "/logs/../../etc/passwd", "/statusz", "/flagz", "/ui", "/api/v1/namespaces/default",
		"/api/v1/namespaces/default/", "/api/v1/namespaces/default/pods/a/b/c/d", "/api/v1/namespaces//pods", "//api//v1//pods", "/api/v1/pods/a", "/api/v1/namespaces/default/status", "/api/v1/namespaces/default/finalize", "/apis//v1/pods", "/api/v1/watch",
		"/api/v1/watch/namespaces/default/pods/a", "/api/v1/watch/namespaces", "/api/v1/componentstatuses", "/api/v1/proxy/nodes/a", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", "/%00", "/\xff", "/" + strings.Repeat("a/", 3000),
		"/" + strings.Repeat("../", 100) + "etc", "*", "http://evil.example/api/v1", "/api/v1;x=y", "/api/v1/pods#f", "/apis/hostile.example/v1"}
	if r.IntN(20) == 0 { // they are long, and dear where definitions have changed
		paths = []string{"/openapi/v2", "/openapi/v3/apis/apps/v1", "/metrics", "/openapi/v3/apis/hostile.example/v1"}
	}
	q := request{method: pick(r, []string{"GET", "GET", "GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"}), path: pick(r, paths), header: map[string]string{"Accept": pick(r, append(accepts,
		"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
		"application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/openmetrics-text", "text/plain;as=Table"))}}
	if q.method != "GET" && q.method != "HEAD" {
		q.header["Content-Type"] = pick(r, bodyTypes)
		q.body = damage(r, []byte(`{"kind":"Pod","apiVersion":"v1"}`))
	}
	if r.IntN(3) == 0 {
		q.strange(r)
	}
	query := pick(r, []string{"", "?verbose", "?exclude=ping&exclude=nope", "?hash=x", "?hash=" + strings.Repeat("A", 128), "?timeout=1ns", "?includeRequestDetails=1", "?seconds=x", "?debug=-1", "?%zz", "?" + selector(r)})
	q.path += query
	return q
}

// connect asks for a stream of something that is not there.
func connect(r *rand.Rand) request {
	resource := pick(r, []string{"/namespaces/default/pods/", "/namespaces/default/pods/", "/namespaces/default/services/", "/nodes/"})
	name := pick(r, []string{"nobody", "http:nobody:80", "https:nobody:", ":nobody:", "nobody:99999", "nobody:-1", "ftp:nobody:x", "[::1]:80", "nobody:a:b:c", "%2F", "%00"})
	sub := pick(r, []string{"exec", "attach", "portforward", "proxy", "proxy/", "proxy/a/b", "proxy/../../x", "log", "exec/x"})
	query := pick(r, []string{"", "?command=a", "?command=&stdin=x", "?container=%00&stdout=1", "?ports=1,2", "?ports=x", "?tailLines=-1", "?sinceSeconds=0&sinceTime=x", "?limitBytes=0", "?stream=Nope&follow=1", "?path=/..", "?tty=1&stderr=1&command=a", "?timestamps=maybe"})
	q := request{method: pick(r, []string{"GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"}), path: "/api/v1" + resource + name + "/" + sub + query, header: map[string]string{}}
	switch r.IntN(4) {
	case 0:
		key := make([]byte, 16)
		for i := range key {
			key[i] = byte(r.IntN(256))
		}
		q.header = map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": strconv.Itoa(13 - r.IntN(2)), "Sec-Websocket-Key": base64.StdEncoding.EncodeToString(key),
			"Sec-Websocket-Protocol": pick(r, []string{"v5.channel.k8s.io", "v4.channel.k8s.io", "SPDY/3.1+portforward.k8s.io", "x", ""})}
	case 1:
		q.header = map[string]string{"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": pick(r, []string{"v4.channel.k8s.io", "portforward.k8s.io", "x"})}
	case 2:
		q.strange(r)
	}
	return q
}

// special writes, reads and deletes one of the objects whose language is tried.
func special(r *rand.Rand, base, name string, tree map[string]any) request {
	q := request{method: "POST", path: base, header: map[string]string{"Content-Type": "application/json", "Accept": likely(r, accepts)}}
	var body any = tree
	if r.IntN(4) == 0 {
		body = many(r, tree)
	}
	query := []string{likely(r, queries[:8])}
	switch r.IntN(8) {
	case 0:
		q.method, q.path, q.header["Content-Type"] = "PATCH", base+"/"+name, patches[1]
	case 1, 2:
		q.method, q.path, q.header["Content-Type"] = "PATCH", base+"/"+name, patches[3]
		query = append(query, "fieldManager=hostile&force=true")
	case 3:
		q.method, q.path = "DELETE", base+"/"+name
		body = nil
	case 4:
		q.method, body = "GET", nil
		query = append(query, likely(r, reads), selector(r))
		delete(q.header, "Content-Type")
	case 5:
		q.method, q.path = "PUT", base+"/"+name+pick(r, subs)
	}
	if body != nil {
		q.body, _ = json.Marshal(body)
		if r.IntN(10) == 0 {
			q.body = damage(r, q.body)
		}
	} else if r.IntN(2) > 0 && q.method == "DELETE" { // dry, so that there is something to write to
		query = append(query, "dryRun=All")
	}
	return q.finish(r, query)
}
