package controltest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"

	"proa.dev/control"
	"proa.dev/object"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Case is one golden plan test: what is there, and when it is looked at.
type Case struct {
	Objects []object.Object // in the order of the file
	Now     time.Time
}

// Start is the time of a Case that says nothing else, and Age the creation time of objects that have none: an hour before.
var Start = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// Plan runs every testdata/*.txtar: its file "objects" (YAML documents), and maybe "now" (RFC 3339), goes to plan, and the changes that
// come back must read as its file "want" says.
func Plan(t *testing.T, plan func(c Case) ([]control.Change, control.Again)) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata/*.txtar: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { planOne(t, file, plan) })
	}
}

func planOne(t *testing.T, file string, plan func(c Case) ([]control.Change, control.Again)) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := Case{Now: Start}
	want := -1
	for i, f := range ar.Files {
		switch f.Name {
		case "objects":
			c.Objects = Parse(t, string(f.Data))
		case "now":
			if c.Now, err = time.Parse(time.RFC3339, strings.TrimSpace(string(f.Data))); err != nil {
				t.Fatal(err)
			}
		case "want":
			want = i
		default:
			t.Fatalf("%s: unknown file %q", file, f.Name)
		}
	}
	got := Describe(plan(c))
	if *update {
		if want < 0 {
			ar.Files, want = append(ar.Files, txtar.File{Name: "want"}), len(ar.Files)
		}
		ar.Files[want].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want < 0 {
		t.Fatalf("%s has no want: run with -update", file)
	}
	if diff := cmp.Diff(string(ar.Files[want].Data), got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

// Parse reads YAML documents of the kinds in the scheme.
func Parse(t testing.TB, docs string) []object.Object {
	t.Helper()
	var out []object.Object
	for _, doc := range separator.Split(docs, -1) {
		var meta struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if meta.Kind == "" {
			continue
		}
		group, version, ok := strings.Cut(meta.APIVersion, "/")
		if !ok {
			group, version = "", meta.APIVersion
		}
		gvk := object.Resource{Kind: meta.Kind}.GVK()
		gvk.Group, gvk.Version = group, version
		o, err := object.Scheme().New(gvk)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		out = append(out, o.(object.Object))
	}
	return out
}

// Pick is the objects of type T of a case.
func Pick[T any, P object.Ptr[T]](c Case) []P {
	var out []P
	for _, o := range c.Objects {
		if p, ok := o.(P); ok {
			out = append(out, p)
		}
	}
	return out
}

// Describe writes changes for people: whole objects for creates, and for the rest what it is about.
func Describe(changes []control.Change, again control.Again) string {
	var b strings.Builder
	for _, ch := range changes {
		name := object.KeyOf(ch.Object).String()
		if ch.Object.GetName() == "" {
			name += ch.Object.GetGenerateName() + "*"
		}
		fmt.Fprintf(&b, "%s %s %s", ch.Op, object.KindOf(ch.Object).Kind, name)
		if ch.Grace != nil {
			fmt.Fprintf(&b, " grace=%d", *ch.Grace)
		}
		if ch.Propagation != nil {
			fmt.Fprintf(&b, " propagation=%s", *ch.Propagation)
		}
		b.WriteByte('\n')
		switch ch.Op {
		case control.Create, control.Update, control.Status:
			indent(&b, body(ch))
		case control.Patch:
			indent(&b, string(ch.Patch.Data))
		}
		for _, n := range []control.Note{ch.Said} {
			if n.On != nil {
				indent(&b, "event "+n.Reason+": "+n.Format)
			}
		}
	}
	if again != control.Done {
		fmt.Fprintf(&b, "again after %v\n", time.Duration(again))
	}
	return b.String()
}

func body(ch control.Change) string {
	data, err := json.Marshal(ch.Object)
	if err != nil {
		return err.Error()
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return err.Error()
	}
	switch ch.Op {
	case control.Status:
		all = map[string]any{"status": all["status"]}
	case control.Update:
		delete(all, "status")
	default:
		delete(all, "status")
	}
	out, err := yaml.Marshal(all)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// Diff is the JSON merge patch from a to b, for tests that look at one change.
func Diff(t testing.TB, a, b object.Object) string {
	t.Helper()
	was, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	now, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.CreateMergePatch(was, now)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func indent(b *strings.Builder, text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
}
