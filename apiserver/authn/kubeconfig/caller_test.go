package kubeconfig

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPost(t *testing.T) {
	tries := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var in map[string]string
		_ = json.NewDecoder(r.Body).Decode(&in)
		fmt.Fprintf(w, `{"q":%q,"auth":%q}`, in["q"], r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: hook, user: me}}]\n" +
		"clusters: [{name: hook, cluster: {server: '" + s.URL + "', certificate-authority-data: " + ca + "}}]\nusers: [{name: me, user: {tokenFile: tok}}]\n"
	path := filepath.Join(dir, "k.yaml")
	for name, data := range map[string]string{path: text, filepath.Join(dir, "tok"): "abc\n"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]string
	if err := c.Post(t.Context(), map[string]string{"q": "1"}, &out); err != nil || out["q"] != "1" || out["auth"] != "Bearer abc" || tries != 2 {
		t.Errorf("%v, %v after %d tries", out, err, tries)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"current-context: x\n": `no context "x"`, "a: [": "yaml: ",
		"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\n": `cluster "c" has no server`,
	} {
		if _, err := parse([]byte(text), "/"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://x'}}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parse(data, "/nowhere"); err == nil && c.url == "" {
			t.Error("a webhook without an address")
		}
	})
}
