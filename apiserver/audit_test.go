package apiserver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/audit"
	"proa.dev/client"
)

func TestAuditLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() }) // a second close after the test's own
	s := apitest.Start(t, func(d *apiserver.Deps) { d.Audit = log })
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+cms, strings.NewReader(newConfigMap("a", "")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer bob")
	r.Header.Set("Impersonate-User", "eve")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	o := &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}
	if _, err := client.Create(t.Context(), s.Client, o); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var remote, local audit.Event
	for line := range bytes.Lines(data) {
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case e.Object == nil || e.Object.Resource != "configmaps" || e.Object.Namespace != "default":
		case e.RequestURI != "":
			remote = e
		default:
			local = e
		}
	}
	if remote.Verb != "create" || remote.User.Username != "bob" || remote.Impersonated == nil || remote.Impersonated.Username != "eve" ||
		remote.ResponseStatus.Code != 201 || remote.AuditID != res.Header.Get("Audit-Id") || remote.Annotations["authorization.k8s.io/decision"] != "allow" {
		t.Errorf("over HTTP: %+v", remote)
	}
	if local.Verb != "create" || local.User.Username != "admin" {
		t.Errorf("without a wire: %+v", local)
	}
}
