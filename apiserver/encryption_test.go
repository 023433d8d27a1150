package apiserver_test

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/store"
	"proa.dev/store/crypt"
)

func encryption(t *testing.T, keys ...string) *crypt.Rules {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n"
	for _, k := range keys {
		secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(k[:1], 32)))
		text += "  - aesgcm: {keys: [{name: " + k + ", secret: " + secret + "}]}\n"
	}
	r, err := crypt.Parse(t.Context(), "e.yaml", []byte(text+"  - identity: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Secrets are encrypted in the store and plain everywhere else; an update that changes nothing brings them to the current key.
func TestEncryptionAtRest(t *testing.T) {
	dir := t.TempDir()
	var under store.Store
	var c *crypt.Store
	with := func(keys ...string) apitest.Option {
		return func(d *apiserver.Deps) {
			under = d.Store
			c = crypt.New(d.Store, encryption(t, keys...), func(key string) crypt.Resource {
				return crypt.Resource{Name: strings.Split(key, "/")[2]}
			})
			d.Store = c
		}
	}
	raw := func() string {
		t.Helper()
		kv, err := under.Get(context.Background(), "/registry/secrets/default/s")
		if err != nil {
			t.Fatal(err)
		}
		return string(kv.Value)
	}
	s := apitest.StartIn(t, dir, with("one"))
	made, err := client.Create(t.Context(), s.Client, &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"k": []byte("hunter2")}})
	if err != nil {
		t.Fatal(err)
	}
	if v := raw(); !strings.HasPrefix(v, "k8s:enc:aesgcm:v1:one:") || strings.Contains(v, "hunter2") {
		t.Errorf("stored as %q", v)
	}
	same, err := client.Update(t.Context(), s.Client, made.DeepCopy())
	if err != nil || same.ResourceVersion != made.ResourceVersion {
		t.Errorf("an update without a change wrote: %v, %v", same.ResourceVersion, err)
	}
	s.Stop()
	s = apitest.StartIn(t, dir, with("two", "one"))
	got, err := client.Get[core.Secret](t.Context(), s.Client, object.Key{Namespace: "default", Name: "s"})
	if err != nil || string(got.Data["k"]) != "hunter2" || got.ResourceVersion != made.ResourceVersion {
		t.Fatalf("after a restart: %+v, %v", got, err)
	}
	next, err := client.Update(t.Context(), s.Client, got.DeepCopy())
	if err != nil || next.ResourceVersion == made.ResourceVersion || !strings.HasPrefix(raw(), "k8s:enc:aesgcm:v1:two:") {
		t.Errorf("an update without a change left the old key: %v, %q", err, raw()[:30])
	}
	if next.UID != made.UID || string(next.Data["k"]) != "hunter2" {
		t.Errorf("it changed the object: %+v", next)
	}
	if _, err := client.Update(t.Context(), s.Client, made.DeepCopy()); err == nil {
		t.Error("an old resource version was accepted")
	}
	s.Stop()
}
