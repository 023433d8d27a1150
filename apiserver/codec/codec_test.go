package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificates "k8s.io/api/certificates/v1"
	beta "k8s.io/api/certificates/v1beta1"
	core "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"

	"proa.dev/kinds"
	"proa.dev/object"
)

var (
	gvk   = core.SchemeGroupVersion.WithKind("ConfigMap")
	kind  = kinds.Def[core.ConfigMap, *core.ConfigMap]{Path: "v1/configmaps"}.Kind()
	proto = protobuf.NewSerializer(object.Scheme(), object.Scheme())
	raw   = protobuf.NewRawSerializer(object.Scheme(), object.Scheme())
)

func sample(name string) *core.ConfigMap {
	o := &core.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "u", ResourceVersion: "7", Labels: map[string]string{"b": "<&>", "a": "1"}},
		Data:       map[string]string{"k": strings.Repeat("v", 300)}, BinaryData: map[string][]byte{"bin": {0, 1, 255}},
	}
	o.SetGroupVersionKind(gvk)
	return o
}

// theirs is what Kubernetes' own serializer makes of o.
func theirs(t *testing.T, o runtime.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := proto.Encode(o, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encoded(t testing.TB, o runtime.Object, f Form) Encoded {
	t.Helper()
	e, err := Encode(o, f)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestProtobufIsKubernetesByteForByte(t *testing.T) {
	for _, o := range []*core.ConfigMap{sample("a"), sample(strings.Repeat("n", 200)), {TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}}} {
		if got, want := encoded(t, o, Protobuf).Bytes, theirs(t, o); !bytes.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestWorkedExample(t *testing.T) {
	o := &core.ConfigMap{}
	o.SetGroupVersionKind(gvk)
	o.Name = "a"
	if got := encoded(t, o, Protobuf).Bytes; !bytes.HasPrefix(got, []byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12")) || !bytes.HasSuffix(got, []byte("\x1a\x00\x22\x00")) {
		t.Errorf("got %q", got)
	}
}

func TestListsAreWhatTheirParts(t *testing.T) {
	items := []*core.ConfigMap{sample("a"), sample("b"), sample("c")}
	rest := int64(5)
	meta := metav1.ListMeta{ResourceVersion: "99", Continue: "next", RemainingItemCount: &rest}
	for n := range len(items) + 1 {
		want := &core.ConfigMapList{ListMeta: meta, Items: []core.ConfigMap{}}
		want.SetGroupVersionKind(core.SchemeGroupVersion.WithKind("ConfigMapList"))
		for _, f := range []Form{JSON, Protobuf} {
			l := List{GVK: want.GroupVersionKind(), Meta: meta}
			want.Items = want.Items[:0]
			for _, o := range items[:n] {
				l.Items = append(l.Items, encoded(t, o, f))
				bare := o.DeepCopy()
				bare.TypeMeta = metav1.TypeMeta{}
				want.Items = append(want.Items, *bare)
			}
			var b bytes.Buffer
			if err := l.Write(&b, f); err != nil {
				t.Fatal(err)
			}
			if f == Protobuf {
				if got := theirs(t, want); !bytes.Equal(b.Bytes(), got) {
					t.Errorf("%d items:\ngot  %q\nwant %q", n, b.Bytes(), got)
				}
				continue
			}
			ours, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(ours)+"\n", b.String()); diff != "" {
				t.Errorf("%d items (-want +got):\n%s", n, diff)
			}
		}
	}
}

func TestBigListsAreWrittenInParts(t *testing.T) {
	var l List
	l.GVK = core.SchemeGroupVersion.WithKind("ConfigMapList")
	for i := range 1000 {
		l.Items = append(l.Items, encoded(t, sample(fmt.Sprint(i)), Protobuf))
	}
	var b bytes.Buffer
	if err := l.Write(&b, Protobuf); err != nil {
		t.Fatal(err)
	}
	got, _, err := proto.Decode(b.Bytes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.(*core.ConfigMapList).Items); n != 1000 {
		t.Errorf("%d items", n)
	}
}

func TestWatchFrames(t *testing.T) {
	var frames []byte
	for _, name := range []string{"a", strings.Repeat("b", 250)} {
		frames = AppendFrame(frames, Protobuf, "ADDED", encoded(t, sample(name), Protobuf))
	}
	reader := streaming.NewDecoder(protobuf.LengthDelimitedFramer.NewFrameReader(nopCloser{bytes.NewReader(frames)}), raw)
	for _, name := range []string{"a", strings.Repeat("b", 250)} {
		var e metav1.WatchEvent
		if _, _, err := reader.Decode(nil, &e); err != nil {
			t.Fatal(err)
		}
		o, _, err := proto.Decode(e.Object.Raw, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.(*core.ConfigMap); e.Type != "ADDED" || got.Name != name {
			t.Errorf("got %s %s, want %s", e.Type, got.Name, name)
		}
	}
	line := string(AppendFrame(nil, JSON, "DELETED", Encoded{Bytes: []byte(`{"x":1}`)}))
	if line != `{"type":"DELETED","object":{"x":1}}`+"\n" {
		t.Error(line)
	}
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

func TestStorageRoundTrip(t *testing.T) {
	o := sample("a")
	o.ResourceVersion = ""
	b, err := Store(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ours": b, "Kubernetes'": theirs(t, o), "JSON": encoded(t, o, JSON).Bytes} {
		got, err := Load(kind, data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(o, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, bad := range []string{"", "k8s\x00", "k8s\x00\xff", "{", `{"apiVersion":"v1","kind":"Secret"}`} {
		if _, err := Load(kind, []byte(bad)); err == nil {
			t.Errorf("%q was loaded", bad)
		}
	}
}

func TestAccept(t *testing.T) {
	for header, want := range map[string]Wanted{
		"":                                    {},
		"*/*":                                 {},
		"application/*":                       {},
		"application/json;charset=utf-8":      {},
		"application/yaml":                    {Form: YAML},
		"application/vnd.kubernetes.protobuf": {Form: Protobuf},
		"application/vnd.kubernetes.protobuf, application/json":                                           {Form: Protobuf},
		"application/json;q=0.5, application/vnd.kubernetes.protobuf;q=0.9":                               {Form: Protobuf},
		"text/html, application/json":                                                                     {},
		"application/vnd.kubernetes.protobuf;stream=watch":                                                {Form: Protobuf},
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json":                                   {Shape: Table, Version: "v1"},
		"application/json;as=Table;v=v1beta1;g=meta.k8s.io":                                               {Shape: Table, Version: "v1beta1"},
		"application/json;as=Table;v=v9;g=meta.k8s.io,application/json":                                   {},
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1":             {Form: Protobuf, Shape: Partial, Version: "v1", List: true},
		"application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/yaml":           {Form: YAML},
		"application/json;;=, application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,;,application": {},
		";,application/json;foo": {},
	} {
		got, err := Accept(header)
		if err != nil || got != want {
			t.Errorf("%q: %+v %v, want %+v", header, got, err, want)
		}
	}
	for _, header := range []string{"text/html", "application/json;as=Cake;g=meta.k8s.io;v=v1", "application/json;g=meta.k8s.io;v=v1", "application/json;stream=brook", "nonsense"} {
		if _, err := Accept(header); err == nil {
			t.Errorf("%q is accepted", header)
		}
	}
}

func TestDepth(t *testing.T) {
	ok := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for text, want := range map[string]bool{ok: true, "[" + ok + "]": false, `{"a":"[[[[\"[["}`: true, `"` + strings.Repeat("[", 2*maxDepth): true} {
		if err := CheckDepth([]byte(text)); (err == nil) != want {
			t.Errorf("%.20s...: %v", text, err)
		}
	}
}

// fresh is a decode as a request makes it.
func fresh(b []byte, f Form) (*core.ConfigMap, error) {
	o := &core.ConfigMap{}
	_, err := Decode(b, f, gvk, o)
	return o, err
}

func TestYAMLBomb(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 8), c-1)
	}
	if _, err := fresh([]byte(bomb), YAML); err == nil {
		t.Error("a bomb was decoded")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a"}}`), byte(JSON))
	f.Add([]byte("metadata:\n  name: a\n"), byte(YAML))
	f.Add(encoded(f, sample("a"), Protobuf).Bytes, byte(Protobuf))
	f.Add([]byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\xff\xff\xff\xff\x0f"), byte(Protobuf))
	f.Fuzz(func(t *testing.T, data []byte, form byte) {
		o, err := fresh(data, Form(form%3))
		if err != nil {
			return
		}
		// What was taken in can be stored and comes out the same.
		b, err := Store(o)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(kind, b)
		if err != nil {
			t.Fatal(err)
		}
		x, y := encoded(t, o, Protobuf).Bytes, encoded(t, again, Protobuf).Bytes
		if !bytes.Equal(x, y) {
			t.Errorf("%q became %q", x, y)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add(encoded(f, sample("a"), Protobuf).Bytes)
	f.Add(encoded(f, sample("a"), JSON).Bytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		if o, err := Load(kind, data); err == nil && o.GetObjectKind().GroupVersionKind() != gvk {
			t.Errorf("loaded a %s", o.GetObjectKind().GroupVersionKind())
		}
	})
}

func FuzzAccept(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.1")
	f.Fuzz(func(t *testing.T, header string) {
		if w, err := Accept(header); err == nil && w.Shape != Plain && w.Version == "" {
			t.Errorf("%q: %+v", header, w)
		}
	})
}

func TestFormerVersions(t *testing.T) {
	before := &beta.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: beta.ClusterTrustBundleSpec{SignerName: "example.com/s", TrustBundle: "PEM"}}
	before.SetGroupVersionKind(beta.SchemeGroupVersion.WithKind("ClusterTrustBundle"))
	data, err := Store(before)
	if err != nil {
		t.Fatal(err)
	}
	def := kinds.Def[certificates.ClusterTrustBundle, *certificates.ClusterTrustBundle]{Path: "certificates.k8s.io/v1/clustertrustbundles", Cluster: true}
	if o, err := Load(def.Kind(), data); err == nil {
		t.Errorf("loaded what was never stored so: %v", o)
	}
	def.Former = []string{"certificates.k8s.io/v1beta1"}
	o, err := Load(def.Kind(), data)
	if err != nil {
		t.Fatal(err)
	}
	b := o.(*certificates.ClusterTrustBundle)
	if b.APIVersion != "certificates.k8s.io/v1" || b.Name != "a" || b.Spec.SignerName != "example.com/s" || b.Spec.TrustBundle != "PEM" {
		t.Errorf("loaded %+v", b)
	}
}

func TestNoProtobuf(t *testing.T) {
	none := (*ErrNoProtobuf)(nil)
	u := &unstructured.Unstructured{Object: map[string]any{"kind": "X", "apiVersion": "example.com/v1"}}
	if _, err := Encode(u, Protobuf); !errors.As(err, &none) {
		t.Errorf("got %v", err)
	}
	if b, err := Store(u); err != nil || string(b) != `{"apiVersion":"example.com/v1","kind":"X"}` {
		t.Errorf("stored as %q, %v", b, err)
	}
}

func BenchmarkEncode(b *testing.B) {
	o := sample("a")
	for name, f := range map[string]Form{"json": JSON, "protobuf": Protobuf} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				encoded(b, o, f)
			}
		})
	}
}

// What protobuf would make null stays an empty list.
func TestStoreKeepsEmptyConditions(t *testing.T) {
	k := kinds.Def[apiextensions.CustomResourceDefinition, *apiextensions.CustomResourceDefinition]{Path: "apiextensions.k8s.io/v1/customresourcedefinitions"}.Kind()
	for _, want := range [][]apiextensions.CustomResourceDefinitionCondition{nil, {}, {{Type: "a"}}} {
		d := &apiextensions.CustomResourceDefinition{}
		d.SetGroupVersionKind(k.GVK())
		d.Status.Conditions = want
		data, err := Store(d)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Load(k, data)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.(*apiextensions.CustomResourceDefinition).Status.Conditions; len(got) != len(want) || (got == nil) != (want == nil) {
			t.Errorf("got %#v, want %#v", got, want)
		}
	}
}
