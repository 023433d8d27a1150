package apiserver

import (
	"net/http/httptest"
	"net/url"
	"testing"

	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
)

// Whatever path and query a request has, it is about something, and what cannot be read is an error of the client's.
func FuzzIdentify(f *testing.F) {
	for _, text := range []string{"/api/v1/namespaces/a/pods/b/log?follow=1", "/apis/apps/v1/watch/deployments?watch=0&limit=-1", "/api/v1/namespaces/a/pods?labelSelector=a+in+(b,c),!d&fieldSelector=metadata.name%3Da",
		"/api/v1/nodes/a:10250/proxy/x/../y", "//api//v1", "/apis/a/b/c?timeoutSeconds=99999999999999999999", "/?continue=%00&sendInitialEvents&timeout=-1s", "/api/v1/namespaces/a/status?fieldSelector=a\\,b%3Dc,d!%3D"} {
		f.Add("GET", text)
	}
	f.Add("PATCH", "/api")
	f.Fuzz(func(t *testing.T, method, text string) {
		u, err := url.ParseRequestURI(text)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL = method, u
		q := identify(r, func(client.Resource) *rest.Served { return nil })
		if q.verb == "" && method != "" {
			t.Errorf("%q %q has no verb", method, text)
		}
		var a authz.Attributes
		q.limit(&a)
		if o, err := listOptions(q.query); err == nil && o.TimeoutSeconds == nil && q.query.Get("timeoutSeconds") != "" {
			t.Error("a timeout is lost")
		}
		_, _ = deleteQuery(q.query) // or an error of the client's
	})
}
