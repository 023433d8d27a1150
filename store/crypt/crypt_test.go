package crypt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"proa.dev/store"
	"proa.dev/store/etcd"
	"proa.dev/store/storetest"
)

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"

var (
	key1 = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	key2 = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32))
)

// one is a file with one rule for everything.
func one(providers ...string) string {
	return head + "- resources: ['*.*']\n  providers:\n  - " + strings.Join(providers, "\n  - ") + "\n"
}

func keyed(kind, name, secret string) string {
	return fmt.Sprintf("%s: {keys: [{name: %s, secret: %s}]}", kind, name, secret)
}

func rules(t testing.TB, text string) *Rules {
	t.Helper()
	r, err := Parse(context.Background(), "e.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // nobody waits for it
	return r
}

func resourceOf(key string) Resource {
	parts := strings.Split(strings.TrimPrefix(key, "/registry/"), "/")
	return Resource{"", parts[0]}
}

func member(t testing.TB) store.Store {
	t.Helper()
	m, err := etcd.New(etcd.Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("store: %v", err)
		}
	})
	return m
}

// An encrypted store is a store.
func TestSuite(t *testing.T) {
	for name, provider := range map[string]string{"aesgcm": keyed("aesgcm", "k", key1), "secretbox": keyed("secretbox", "k", key1)} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store { return New(member(t), rules(t, one(provider)), resourceOf) })
		})
	}
}

func TestRoundTripAndTampering(t *testing.T) {
	for _, p := range []string{"aesgcm", "aescbc", "secretbox"} {
		r := rules(t, one(keyed(p, "k", key1)))
		for _, plain := range []string{"", "x", strings.Repeat("k8s\x00", 100), strings.Repeat("y", 16)} {
			c := r.of(Resource{"", "secrets"})
			sealed, err := c.seal(t.Context(), []byte(plain), "/registry/secrets/a/b")
			if err != nil {
				t.Fatal(err)
			}
			if want := "k8s:enc:" + p + ":v1:k:"; !strings.HasPrefix(string(sealed), want) {
				t.Fatalf("%q does not begin with %s", sealed, want)
			}
			got, stale, err := c.open(t.Context(), sealed, "/registry/secrets/a/b")
			if err != nil || stale || string(got) != plain {
				t.Errorf("%s: got %q %v %v, want %q", p, got, stale, err, plain)
			}
			if _, _, err := c.open(t.Context(), sealed, "/registry/secrets/a/c"); err == nil && p == "aesgcm" {
				t.Error("a value was opened under another key of the store")
			}
			bad := bytes.Clone(sealed)
			bad[len(bad)-1] ^= 1
			if _, _, err := c.open(t.Context(), bad, "/registry/secrets/a/b"); err == nil && p != "aescbc" {
				t.Errorf("%s: a changed value was opened", p)
			}
			for cut := range len(sealed) {
				if got, _, err := c.open(t.Context(), sealed[:cut], "/registry/secrets/a/b"); err == nil && p != "aescbc" {
					t.Errorf("%s: a value cut to %d bytes was opened: %q", p, cut, got)
				}
			}
		}
	}
}

// Values that Kubernetes has written: made by an independent implementation (OpenSSL), with key 1 and the fixed vectors that stand in them.
func TestKnownValues(t *testing.T) {
	// AES-256-CBC of "hello" with IV 000102..0f.
	r := rules(t, one(keyed("aescbc", "key1", key1)))
	iv, _ := base64.StdEncoding.DecodeString("AAECAwQFBgcICQoLDA0ODw==")
	ct, _ := base64.StdEncoding.DecodeString("WsqQgjudu7ZZriVO//+VIw==")
	value := append([]byte("k8s:enc:aescbc:v1:key1:"), append(iv, ct...)...)
	if got, _, err := r.of(Resource{"", "secrets"}).open(t.Context(), value, "/registry/secrets/a/b"); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRotation(t *testing.T) {
	under := member(t)
	s := New(under, rules(t, one("identity: {}")), resourceOf)
	put := func(key, value string) {
		t.Helper()
		if _, err := s.Apply(t.Context(), store.Write{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(key string) string {
		t.Helper()
		kv, err := under.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(kv.Value)
	}
	put("/registry/secrets/a/plain", "one")
	s.Use(rules(t, one(keyed("aesgcm", "k1", key1), "identity: {}")))
	put("/registry/secrets/a/first", "two")
	s.Use(rules(t, one(keyed("aesgcm", "k2", key2), keyed("aesgcm", "k1", key1), "identity: {}")))
	put("/registry/secrets/a/second", "three")
	put("/registry/configmaps/a/other", "four")
	for key, want := range map[string]bool{"plain": true, "first": true, "second": false, "none": false} {
		if got, err := s.Stale(t.Context(), "/registry/secrets/a/"+key); err != nil || got != want {
			t.Errorf("%s is stale: %v %v, want %v", key, got, err, want)
		}
	}
	p, err := s.Reencrypt(t.Context(), "/registry/", func(r Resource) bool { return r.Name == "secrets" }, func(Progress) {})
	if err != nil || p.Seen != 3 || p.Written != 2 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = s.Reencrypt(t.Context(), "/registry/", func(Resource) bool { return true }, func(Progress) {}); err != nil || p.Seen != 4 || p.Written != 0 {
		t.Errorf("a second time: %+v %v", p, err)
	}
	s.Use(rules(t, one(keyed("aesgcm", "k2", key2))))
	for key, want := range map[string]string{"plain": "one", "first": "two", "second": "three"} {
		if kv, err := s.Get(t.Context(), "/registry/secrets/a/"+key); err != nil || string(kv.Value) != want || !strings.HasPrefix(raw(kv.Key), "k8s:enc:aesgcm:v1:k2:") {
			t.Errorf("%s: %q %v, stored as %q", key, kv.Value, err, raw("/registry/secrets/a/"+key))
		}
	}
	// Whoever takes the key away sees an error, not a missing object.
	s.Use(rules(t, one(keyed("aesgcm", "k3", key1))))
	if _, err := s.Get(t.Context(), "/registry/secrets/a/plain"); err == nil || !strings.Contains(err.Error(), "decrypt /registry/secrets/a/plain: no matching prefix found") {
		t.Errorf("without the key: %v", err)
	}
	s.Use(rules(t, one("identity: {}")))
	if _, err := s.List(t.Context(), "/registry/secrets/", store.ListOptions{}); err == nil || !strings.Contains(err.Error(), "identity transformer tried to read encrypted data") {
		t.Errorf("without any key: %v", err)
	}
}

func TestWhichResources(t *testing.T) {
	r := rules(t, head+`- resources: [events]
  providers: [{identity: {}}]
- resources: [secrets, pandas.bears.example]
  providers: [{aesgcm: {keys: [{name: a, secret: `+key1+`}]}}]
- resources: ['*.apps']
  providers: [{aesgcm: {keys: [{name: b, secret: `+key1+`}]}}]
- resources: ['*.*']
  providers: [{aesgcm: {keys: [{name: c, secret: `+key1+`}]}}]
`)
	for res, want := range map[Resource]string{{"", "events"}: "", {"", "secrets"}: "k8s:enc:aesgcm:v1:a:", {"bears.example", "pandas"}: "k8s:enc:aesgcm:v1:a:",
		{"apps", "deployments"}: "k8s:enc:aesgcm:v1:b:", {"", "pods"}: "k8s:enc:aesgcm:v1:c:"} {
		if got := string(r.of(res)[0].prefix); got != want {
			t.Errorf("%v: %q, want %q", res, got, want)
		}
	}
	if !r.plain(Resource{"", "events"}) || r.plain(Resource{"", "pods"}) {
		t.Error("which resources are plain")
	}
}

func TestMistakes(t *testing.T) {
	entry := func(s string) string { return head + "- resources: [secrets]\n  providers:\n  - " + s + "\n" }
	for _, tt := range []struct{ text, want string }{
		{"kind: X\n", `e.yaml: it is apiVersion "", kind "X"`},
		{head[:len(head)-len("resources:\n")], "e.yaml: resources: Required value"},
		{head + "- providers: [{identity: {}}]\n", "e.yaml:4: resources[0]: resources: Required value"},
		{entry("aesgcm: {key: []}"), `unknown key "key"`},
		{entry("rot13: {}"), `unknown key "rot13"`},
		{entry("aesgcm: {keys: []}"), "providers[0]: aesgcm.keys: Required value: at least one keys is required"},
		{entry("aesgcm: {keys: [{name: a, secret: '***'}]}"), `"REDACTED": secrets must be base64 encoded`},
		{entry("aesgcm: {keys: [{name: a, secret: YWJj}]}"), "secret is not of the expected length, got 3, expected one of [16 24 32]"},
		{entry("aesgcm: {keys: [{secret: YWJj}]}"), "name is a mandatory field for a key"},
		{entry("{}"), "provider does not contain any of the expected providers"},
		{entry("{identity: {}, aesgcm: {keys: []}}"), "more than one provider specified in a single element"},
		{entry("kms: {name: 'a:b', apiVersion: v2, endpoint: 'unix:///x'}"), "must not contain ':'"},
		{entry("kms: {name: a, apiVersion: v2, endpoint: 'tcp://x'}"), "only unix is supported"},
		{entry("kms: {name: a, apiVersion: v1, endpoint: 'unix:///x'}"), "only v2 is supported"},
		{entry("kms: {name: a, apiVersion: v2, endpoint: 'unix:///nowhere', timeout: 1s}"), "failed to perform status section of the healthz check for KMS Provider a"},
		{head + "- {resources: [Secrets], providers: [{identity: {}}]}\n", "capital letters"},
		{head + "- {resources: ['*'], providers: [{identity: {}}]}\n", "use '*.' to encrypt all"},
		{head + "- {resources: [secrets, '*.'], providers: [{identity: {}}]}\n", "will be masked"},
		{head + "- {resources: [secrets, secrets], providers: [{identity: {}}]}\n", "cannot be specified multiple times"},
		{head + "- {resources: ['*.*'], providers: [{identity: {}}]}\n- {resources: [secrets], providers: [{identity: {}}]}\n", "masked by an earlier rule"},
	} {
		_, err := Parse(t.Context(), "e.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// fakeKMS is a plugin behind a real socket: it encrypts by turning bits over, and its key can be changed and its health taken away.
type fakeKMS struct {
	mu              sync.Mutex
	keyID, health   string
	encrypts, opens int
	server          *grpc.Server
	path            string
}

func startKMS(t *testing.T) *fakeKMS {
	t.Helper()
	k := &fakeKMS{keyID: "1", health: "ok", path: filepath.Join(t.TempDir(), "kms.sock")}
	l, err := net.Listen("unix", k.path)
	if err != nil {
		t.Fatal(err)
	}
	k.server = grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(k.handle))
	go k.server.Serve(l) //nolint:errcheck // it ends with Stop
	t.Cleanup(k.server.Stop)
	return k
}

func flip(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

func (k *fakeKMS) handle(_ any, stream grpc.ServerStream) error {
	var in []byte
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	var first []byte
	if err := fields(in, func(n protowire.Number, v []byte, _ uint64) error {
		if n == 1 {
			first = v
		}
		return nil
	}); err != nil {
		return err
	}
	method, _ := grpc.MethodFromServerStream(stream)
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []byte
	switch method {
	case "/v2.KeyManagementService/Status":
		out = appendBytes(appendBytes(appendBytes(nil, 1, []byte("v2")), 2, []byte(k.health)), 3, []byte(k.keyID))
	case "/v2.KeyManagementService/Encrypt":
		k.encrypts++
		out = appendBytes(appendBytes(nil, 1, flip(first)), 2, []byte(k.keyID))
		out = appendMap(out, 3, map[string][]byte{"kms.example": []byte("note")})
	case "/v2.KeyManagementService/Decrypt":
		k.opens++
		out = appendBytes(nil, 1, flip(first))
	}
	return stream.SendMsg(out)
}

func TestKMS(t *testing.T) {
	k := startKMS(t)
	text := one("kms: {name: vault, apiVersion: v2, endpoint: 'unix://" + k.path + "', timeout: 5s}")
	r := rules(t, text)
	c := r.of(Resource{"", "secrets"})
	seal := func() []byte {
		t.Helper()
		sealed, err := c.seal(t.Context(), []byte("plain"), "/k")
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	first := seal()
	for range 100 {
		seal()
	}
	if !bytes.HasPrefix(first, []byte("k8s:enc:kms:v2:vault:")) || k.encrypts != 1 {
		t.Errorf("%q after %d calls of the plugin", first[:30], k.encrypts)
	}
	// Another server, which has not made the seed, asks the plugin once.
	r2 := rules(t, text)
	for range 10 {
		got, stale, err := r2.of(Resource{"", "secrets"}).open(t.Context(), first, "/k")
		if err != nil || stale || string(got) != "plain" {
			t.Fatalf("%q %v %v", got, stale, err)
		}
	}
	if k.opens != 1 {
		t.Errorf("the plugin opened %d times", k.opens)
	}
	if _, _, err := r2.of(Resource{"", "secrets"}).open(t.Context(), first, "/other"); err == nil {
		t.Error("a value was opened under another key of the store")
	}
	// A new key of the plugin is used from the next status on, and makes what there is stale.
	now := time.Now()
	r.kms[0].now = func() time.Time { return now }
	k.mu.Lock()
	k.keyID = "2"
	k.mu.Unlock()
	now = now.Add(2 * time.Minute)
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := c.open(t.Context(), first, "/k"); err != nil || !stale {
		t.Errorf("with another key: stale %v, %v", stale, err)
	}
	if second := seal(); bytes.Equal(second[:60], first[:60]) {
		t.Error("the new key is not used")
	}
	// A plugin that is ill keeps nobody from writing for a while, and then it does.
	k.mu.Lock()
	k.health = "sealed"
	k.mu.Unlock()
	now = now.Add(2 * time.Minute)
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "got unexpected healthz status: sealed") {
		t.Errorf("health: %v", err)
	}
	k.server.Stop()
	now = now.Add(5 * time.Minute)
	if _, err := c.seal(t.Context(), nil, "/k"); err == nil {
		t.Error("a seed was used long after the last good status")
	}
}

// A key, not a seed, as older versions wrote it.
func TestKMSWithPlainKey(t *testing.T) {
	k := startKMS(t)
	r := rules(t, one("kms: {name: vault, apiVersion: v2, endpoint: 'unix://"+k.path+"'}"))
	dek := make([]byte, 32)
	_, _ = rand.Read(dek)
	g, err := newGCM(dek)
	if err != nil {
		t.Fatal(err)
	}
	data, err := g.seal(t.Context(), []byte("old"), "/k")
	if err != nil {
		t.Fatal(err)
	}
	m := envelope{data: data, keyID: "1", source: flip(dek)}
	value := append([]byte("k8s:enc:kms:v2:vault:"), m.append(nil)...)
	if got, stale, err := r.of(Resource{"", "x"}).open(t.Context(), value, "/k"); err != nil || !stale || string(got) != "old" {
		t.Errorf("%q %v %v", got, stale, err)
	}
}

func FuzzOpen(f *testing.F) {
	r := rules(f, one(keyed("aesgcm", "k", key1), keyed("aescbc", "k", key1), keyed("secretbox", "k", key1), "identity: {}"))
	f.Add([]byte("k8s:enc:aescbc:v1:k:0123456789abcdef0123456789abcdef"))
	f.Add([]byte("k8s:enc:aesgcm:v1:k:"))
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, _ = r.of(Resource{}).open(context.Background(), data, "/k")
		_, _ = parseEnvelope(data)
	})
}

func BenchmarkGCM(b *testing.B) {
	c := rules(b, one(keyed("aesgcm", "k", key1))).of(Resource{})
	value := bytes.Repeat([]byte("x"), 1000)
	b.ReportAllocs()
	for b.Loop() {
		sealed, err := c.seal(b.Context(), value, "/registry/secrets/a/b")
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := c.open(b.Context(), sealed, "/registry/secrets/a/b"); err != nil {
			b.Fatal(err)
		}
	}
}
