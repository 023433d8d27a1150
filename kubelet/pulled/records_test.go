package pulled

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"proa.dev/kit/dockerauth"
	"proa.dev/kit/prom"
)

func open(t testing.TB, root string, p Policy) *Records {
	t.Helper()
	r, err := Open(root, p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with is a pod that has these credentials.
func with(c ...Credential) func() []Credential { return func() []Credential { return c } }

// pull pulls an image.
func pull(t testing.TB, r *Records, image, id string, by *Credential) {
	t.Helper()
	end, err := r.Begin(image)
	if err != nil {
		t.Fatal(err)
	}
	end(id, by)
}

// files are the names of all files below image_manager.
func files(t *testing.T, root string) (out []string) {
	t.Helper()
	for _, dir := range []string{"pulling", "pulled"} {
		list, err := os.ReadDir(filepath.Join(root, "image_manager", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}

func TestPullers(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	mine, other := secret("ns", "pull", "1", "p"), secret("else", "pull", "2", "guess")
	sa := account("ns", "sa", "3")
	may := func(what string, want bool, image, id string, c ...Credential) {
		t.Helper()
		if got := r.MayUse(image, id, with(c...)); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	may("preloaded", true, "reg/a:1", "id1")
	pull(t, r, "reg/a:1", "id1", &mine)
	pull(t, r, "reg/b:1", "id2", nil)
	pull(t, r, "reg/c:1", "id3", &sa)
	pull(t, r, "reg/none:1", "", nil)
	for _, when := range []string{"before", "after a restart"} {
		may(when+": nobody", false, "reg/a:1", "id1")
		may(when+": with it", true, "reg/a:1", "id1", mine)
		may(when+": with another", false, "reg/a:1", "id1", other)
		may(when+": everybody's", true, "reg/b:2", "id2")
		may(when+": the account's", true, "reg/c:1", "id3", sa)
		may(when+": without the account", false, "reg/c:1", "id3", account("else", "sa", "3"))
		may(when+": what did not come", true, "reg/none:1", "id4")
		if got := files(t, root); len(got) != 3 {
			t.Errorf("%s: %q", when, got)
		}
		r = open(t, root, Policy{})
	}
	// Who shows the same content is known from then on, also with other content.
	twin := secret("twin", "pull", "5", "p")
	may("twin", true, "reg/a:1", "id1", twin)
	may("twin, changed", true, "reg/a:1", "id1", secret("twin", "pull", "5", "q"))
	r = open(t, root, Policy{})
	may("twin's new content", true, "reg/a:1", "id1", secret("third", "pull", "6", "q"))
	// Another name for the same image has to be paid for by itself.
	may("by another name", false, "mirror/a:1", "id1", mine)
	pull(t, r, "mirror/a:1", "id1", nil)
	may("by another name, pulled", true, "mirror/a:1", "id1")
	may("by the first name", false, "reg/a:1", "id1", other)
}

// TestForm: files are what Kubernetes' kubelet writes, byte by byte.
func TestForm(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	end, err := r.Begin("docker.io/testing/test:latest")
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, "image_manager", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	want := `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"docker.io/testing/test:latest"}` + "\n"
	if got := read("pulling/sha256-aef2af226629a35d5f3ef0fdbb29fdbebf038d0acd8850590e8c48e1e283aa56"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c := secret("default", "pull-secret", "testsecretuid", "<pass>")
	c.Email = "u@example.com"
	end("testimageref", &c)
	var was struct{ LastUpdatedTime string }
	got := read("pulled/" + fileName("testimageref"))
	if err := json.Unmarshal([]byte(got), &was); err != nil {
		t.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339, was.LastUpdatedTime); err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(was.LastUpdatedTime, "Z") {
		t.Errorf("time %q: %v", was.LastUpdatedTime, err)
	}
	want = `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"` + was.LastUpdatedTime + `","imageRef":"testimageref",` +
		`"credentialMapping":{"docker.io/testing/test":{"kubernetesSecrets":[{"uid":"testsecretuid","namespace":"default","name":"pull-secret",` +
		`"credentialHash":"HASH"}]}}}` + "\n"
	hash, err := Hash(dockerauth.Entry{Username: "u", Password: "<pass>", Email: "u@example.com"})
	if err != nil || hash != wantHash {
		t.Errorf("hash %s, %v", hash, err)
	}
	if want = strings.ReplaceAll(want, "HASH", wantHash); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

const wantHash = "16037d8ff9bd6179c2a41fc4958be66a1c297ecdb02e2ea4b94fa938424b2908"

// TestFilesOfOthers reads what Kubernetes' kubelet wrote, in either version, and what is no record at all.
func TestFilesOfOthers(t *testing.T) {
	root := t.TempDir()
	write := func(dir, of, text string) string {
		t.Helper()
		path := filepath.Join(root, "image_manager", dir, fileName(of))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := write("pulled", "old", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1","lastUpdatedTime":"2024-10-21T12:26:40Z","imageRef":"old","credentialMapping":{"reg/old":{"nodePodsAccessible":true}}}`)
	write("pulled", "new", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","imageRef":"new"}`)
	oldIntent := write("pulling", "reg/begun:1", `{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1alpha1","image":"reg/begun:1"}`)
	write("pulled", "half", `{"kind":"ImagePulledRecord","apiVersion":"kubelet`)
	write("pulled", "named", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":null,"imageRef":"otherwise"}`)
	write("pulled", "future", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":null,"imageRef":"future","deny":true}`)
	write("pulled", "v2", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v2","lastUpdatedTime":null,"imageRef":"v2"}`)
	write("pulled", "more", `{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":null,"imageRef":"more"} x`)
	write("pulling", "reg/empty:1", ``)
	if err := os.WriteFile(filepath.Join(root, "image_manager/pulled/README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r, err := Open(root, Policy{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "not readable"); n != 6 {
		t.Errorf("%d files are told of, want 6: %s", n, log.String())
	}
	mine := secret("ns", "pull", "1", "p")
	for _, c := range []struct {
		image, id string
		want      bool
	}{
		{"reg/old:1", "old", true}, {"reg/new:1", "new", false}, {"reg/begun:1", "whatever", false}, {"reg/half:1", "half", false}, {"reg/named:1", "named", false},
		{"reg/otherwise:1", "otherwise", true}, {"reg/future:1", "future", false}, {"reg/v2:1", "v2", false}, {"reg/more:1", "more", false}, {"reg/empty:1", "x", false},
		{"reg/preloaded:1", "x", true},
	} {
		if got := r.MayUse(c.image, c.id, with(mine)); got != c.want {
			t.Errorf("%s: %v", c.image, got)
		}
	}
	for _, path := range []string{old, oldIntent} {
		if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), version) {
			t.Errorf("%s was not brought up to date: %s, %v", path, data, err)
		}
	}
	// A pull replaces what could not be read.
	pull(t, r, "reg/half:1", "half", &mine)
	pull(t, r, "reg/empty:1", "x", &mine)
	for range 2 {
		if !r.MayUse("reg/half:1", "half", with(mine)) || r.MayUse("reg/half:1", "half", with()) || !r.MayUse("reg/empty:1", "x", with(mine)) {
			t.Error("what was pulled again is not what it was pulled by")
		}
		r = open(t, root, Policy{})
	}
}

func TestDeathDuringPull(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	mine := secret("ns", "pull", "1", "p")
	for _, image := range []string{"reg/came:1", "reg/lost:1", "reg/unknown:1"} {
		if _, err := r.Begin(image); err != nil {
			t.Fatal(err)
		}
	}
	if r.MayUse("reg/came:1", "id1", with(mine)) {
		t.Error("an image may be used that is being pulled")
	}
	r = open(t, root, Policy{})
	if r.MayUse("reg/came:1", "id1", with(mine)) {
		t.Error("what a dead process pulled counts as preloaded")
	}
	r.Recover(context.Background(), func(_ context.Context, image string) (string, error) {
		switch image {
		case "reg/came:1":
			return "id1", nil
		case "reg/lost:1":
			return "", nil
		}
		return "", errors.New("the runtime is down")
	})
	for range 2 {
		for _, image := range []string{"reg/came:1", "reg/came:2"} { // the image is known now, by whatever name
			if r.MayUse(image, "id1", with(mine)) {
				t.Errorf("%s: what a dead process pulled counts as preloaded", image)
			}
		}
		if got := files(t, root); len(got) != 3 {
			t.Errorf("files %q", got)
		}
		r = open(t, root, Policy{})
	}
	pull(t, r, "reg/came:1", "id1", &mine)
	if !r.MayUse("reg/came:1", "id1", with(mine)) {
		t.Error("who pulled it again may not use it")
	}
}

func TestPullsAtTheSameTime(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	var ends []func(string, *Credential)
	for range 3 {
		end, err := r.Begin("reg/a:1")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	var wg sync.WaitGroup
	for i, end := range ends {
		wg.Go(func() {
			c := secret("ns", fmt.Sprint("s", i), fmt.Sprint(i), fmt.Sprint(i))
			end("id", &c)
		})
	}
	wg.Wait()
	r = open(t, root, Policy{})
	for i := range ends {
		if !r.MayUse("reg/a:1", "id", with(secret("ns", fmt.Sprint("s", i), fmt.Sprint(i), ""))) {
			t.Errorf("puller %d is forgotten", i)
		}
	}
	if got := files(t, root); len(got) != 1 {
		t.Errorf("files %q", got)
	}
}

func TestPrune(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	mine := secret("ns", "pull", "1", "p")
	for _, id := range []string{"kept", "removed", "again"} {
		pull(t, r, "reg/"+id, id, &mine)
	}
	began := time.Now()
	pull(t, r, "reg/again", "again", &mine) // the file has nothing new, but the image is there
	pull(t, r, "reg/late", "late", &mine)
	r.Prune([]string{"kept"}, began)
	for range 2 {
		for id, want := range map[string]bool{"kept": false, "removed": true, "again": false, "late": false} {
			if got := r.MayUse("reg/"+id, id, with()); got != want {
				t.Errorf("%s: %v", id, got)
			}
		}
		if got := files(t, root); len(got) != 3 {
			t.Errorf("files %q", got)
		}
		r = open(t, root, Policy{})
	}
}

// TestFullDisk: where the record cannot be written the intent stays; where that cannot be written nothing is pulled.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	r := open(t, root, Policy{})
	end, err := r.Begin("reg/a:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.pulled); err != nil {
		t.Fatal(err)
	}
	end("id", nil)
	if r.MayUse("reg/a:1", "id", with()) {
		t.Error("it counts as preloaded")
	}
	if err := os.RemoveAll(r.pulling); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Begin("reg/b:1"); err == nil || !strings.HasPrefix(err.Error(), "failed to record image pull intent: ") {
		t.Errorf("a pull without an intent: %v", err)
	}
}

func TestPage(t *testing.T) {
	r := open(t, t.TempDir(), Policy{})
	mine := secret("ns", "pull", "1", "p")
	pull(t, r, "reg/a", "id", &mine)
	if _, err := r.Begin("reg/b"); err != nil {
		t.Fatal(err)
	}
	r.MayUse("reg/a", "id", with(mine))
	r.MayUse("reg/a", "id", with())
	r.MayUse("reg/c", "other", with())
	var p prom.Page
	r.Page(&p)
	var got []string
	for line := range strings.Lines(p.String()) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		"kubelet_imagemanager_ondisk_pullintents 1", "kubelet_imagemanager_ondisk_pulledrecords 1",
		`kubelet_imagemanager_image_mustpull_checks_total{result="credentialPolicyAllowed"} 1`,
		`kubelet_imagemanager_image_mustpull_checks_total{result="credentialRecordFound"} 1`,
		`kubelet_imagemanager_image_mustpull_checks_total{result="mustAuthenticate"} 1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","imageRef":"x","credentialMapping":{"a":{"kubernetesSecrets":[{"uid":"u"}]}}}`))
	f.Add([]byte(`{"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1alpha1","image":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if i, _, err := readIntent(fileName("x"), data); err == nil && i.Image != "x" {
			t.Errorf("an intent of %q", i.Image)
		}
		rec, _, err := readRecord(fileName("x"), data)
		if err != nil {
			return
		}
		again, err := encode(rec)
		if err != nil {
			t.Skip() // a time that JSON does not have
		}
		if _, old, err := readRecord(fileName("x"), again); err != nil || old {
			t.Errorf("%s: written again it is not read: %v", again, err)
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a/b:c@sha256:" + zeros, "[::1]:5/a", "A:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, tag, sum, err := Split(s)
		if err != nil {
			return
		}
		if tag != "" {
			tag = ":" + tag
		}
		if sum != "" {
			sum = "@" + sum
		}
		if name+tag+sum != s {
			t.Errorf("%q: %q %q %q", s, name, tag, sum)
		}
	})
}

func BenchmarkMayUse(b *testing.B) {
	r := open(b, b.TempDir(), Policy{})
	mine := secret("ns", "pull", "1", "p")
	pull(b, r, "reg.example/secret:1", "secret", &mine)
	pull(b, r, "reg.example/public:1", "public", nil)
	for _, id := range []string{"preloaded", "public", "secret"} {
		b.Run(id, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.MayUse("reg.example/"+id+":1", id, with(mine))
			}
		})
	}
}
