package all

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"proa.dev/kinds"
	"proa.dev/object"
)

var update = flag.Bool("update", false, "rewrite the results in testdata")

// golden is one case of a file in testdata. In the file it is a few sections that begin with its name: "name/create.yaml", or
// "name/old.yaml" with "name/update.yaml" or "name/status.yaml", or "name/row.yaml" for what is shown of an object as it is;
// and "name/result", which is generated.
type golden struct {
	name, mode string
	obj, old   []byte
}

// result is what becomes of a case.
type result struct {
	obj      object.Object
	errors   []string
	warnings []string
	row      []any
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			in, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out := &txtar.Archive{Comment: in.Comment}
			for _, c := range casesOf(t, in) {
				if c.old != nil {
					out.Files = append(out.Files, txtar.File{Name: c.name + "/old.yaml", Data: c.old})
				}
				out.Files = append(out.Files, txtar.File{Name: c.name + "/" + c.mode + ".yaml", Data: c.obj},
					txtar.File{Name: c.name + "/result", Data: render(t, evaluate(t, c))})
			}
			got := txtar.Format(out)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("results have changed (-want +got); -update rewrites %s:\n%s", file, d)
			}
		})
	}
}

func casesOf(t *testing.T, a *txtar.Archive) []golden {
	t.Helper()
	var out []golden
	old := map[string][]byte{}
	for _, f := range a.Files {
		name, part, _ := strings.Cut(f.Name, "/")
		switch part {
		case "old.yaml":
			old[name] = f.Data
		case "create.yaml", "update.yaml", "status.yaml", "row.yaml":
			out = append(out, golden{name, strings.TrimSuffix(part, ".yaml"), f.Data, old[name]})
		case "result":
		default:
			t.Fatalf("section %q is not known", f.Name)
		}
	}
	return out
}

const uid = "00000000-0000-0000-0000-000000000001"

var created = metav1.NewTime(time.Unix(1_700_000_000, 0).UTC())

// evaluate takes a case the way that a request takes: defaults, preparation, checks.
func evaluate(t *testing.T, c golden) (r result) {
	t.Helper()
	k, o := read(t, c.obj)
	r.obj = o
	k.Default(o)
	o.SetCreationTimestamp(created)
	o.SetUID(uid)
	r.row = k.Row(o, created.Add(5*time.Minute))
	if c.mode == "row" {
		r.obj = nil
		return r
	}
	var errs field.ErrorList
	meta := field.NewPath("metadata")
	var old object.Object
	if c.old != nil {
		_, old = read(t, c.old)
		k.Default(old)
		old.SetCreationTimestamp(created)
		old.SetUID(uid)
		old.SetResourceVersion("7")
		o.SetResourceVersion("7")
		o.SetGeneration(old.GetGeneration())
		errs = validation.ValidateObjectMetaAccessorUpdate(o, old, meta)
	} else {
		errs = validation.ValidateObjectMetaAccessor(o, k.Namespaced, k.Name, meta)
	}
	switch c.mode {
	case "create":
		if k.Status && !k.CreateStatus {
			copyField(o, k.New(), "Status")
		}
		if k.Generation {
			o.SetGeneration(1)
		}
		k.Prepare(o, nil)
		errs = append(errs, k.Validate(o)...)
		errs = append(errs, k.ValidateCreate(o)...)
		r.warnings = k.Warn(o, nil)
	case "update":
		if k.Status {
			copyField(o, old, "Status")
		}
		k.Prepare(o, old)
		if k.Generation && !sameSpec(o, old) {
			o.SetGeneration(old.GetGeneration() + 1)
		}
		errs = append(errs, k.Validate(o)...)
		errs = append(errs, k.ValidateUpdate(o, old)...)
		r.warnings = k.Warn(o, old)
	case "status":
		copyField(o, old, "Spec")
		k.PrepareStatus(o, old)
		errs = append(errs, k.ValidateStatus(o, old)...)
	}
	for _, e := range errs {
		r.errors = append(r.errors, e.Field+": "+e.ErrorBody())
	}
	r.row = k.Row(o, created.Add(5*time.Minute))
	return r
}

func read(t *testing.T, data []byte) (*kinds.Kind, object.Object) {
	t.Helper()
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(data, &head); err != nil {
		t.Fatal(err)
	}
	for _, k := range Kinds() {
		if k.GVK() == schema.FromAPIVersionAndKind(head.APIVersion, head.Kind) {
			o := k.New()
			if err := yaml.UnmarshalStrict(data, o); err != nil {
				t.Fatalf("%v in:\n%s", err, data)
			}
			return k, o
		}
	}
	t.Fatalf("no kind %s %s", head.APIVersion, head.Kind)
	return nil, nil
}

func copyField(to, from object.Object, name string) {
	a, b := reflect.ValueOf(to).Elem().FieldByName(name), reflect.ValueOf(from).Elem().FieldByName(name)
	if a.IsValid() {
		a.Set(b)
	}
}

func sameSpec(a, b object.Object) bool {
	x, y := a.DeepCopyObject().(object.Object), b.DeepCopyObject().(object.Object)
	copyField(x, y, "ObjectMeta")
	copyField(x, y, "Status")
	return equality.Semantic.DeepEqual(x, y)
}

func render(t *testing.T, r result) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, w := range r.warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, e := range r.errors {
		fmt.Fprintf(&b, "error: %s\n", strings.ReplaceAll(e, "\n", "\n       "))
	}
	if len(r.errors) > 0 {
		return b.Bytes()
	}
	cells := make([]string, len(r.row))
	for i, c := range r.row {
		cells[i] = fmt.Sprint(c)
	}
	fmt.Fprintf(&b, "row: %s\n", strings.Join(cells, " | "))
	if r.obj == nil {
		return b.Bytes()
	}
	text, err := yaml.Marshal(r.obj)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(text)
	return b.Bytes()
}
