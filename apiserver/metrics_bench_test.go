package apiserver

import (
	"net/http/httptest"
	"testing"
	"time"

	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
)

// BenchmarkCount is what counting one request costs.
func BenchmarkCount(b *testing.B) {
	r := kinds.ParsePath("apps/v1/deployments")
	q := &request{verb: "get", resource: true, served: &rest.Served{Resource: r, Kind: &kinds.Kind{Resource: r}}, code: 200}
	q.target = client.Target{Resource: r.GroupVersionResource, Key: object.Key{Namespace: "default", Name: "web"}}
	m := newMetrics()
	r1 := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.done(q, m.of(q, r1), 3*time.Millisecond, 1234)
		}
	})
}
