package pull

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	gstatus "google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/dockerauth"
	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
	"proa.dev/kubelet/pulled"
	"proa.dev/object"
)

// shop is a runtime's images: those that are there, and those of a registry with the password that it wants.
type shop struct {
	cri.Images
	here     map[string]string // name -> id
	registry map[string]string // name -> password
	asked    []string          // passwords
	fail     error
}

func (s *shop) ImageStatus(_ context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	for name, id := range s.here {
		if q.Image.Image == name || q.Image.Image == id {
			return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: id, Size: 7}}, nil
		}
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

func (s *shop) PullImage(_ context.Context, q *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	s.asked = append(s.asked, q.Auth.GetPassword())
	if s.fail != nil {
		return nil, s.fail
	}
	if s.registry[q.Image.Image] != q.Auth.GetPassword() {
		return nil, gstatus.Errorf(codes.Unauthenticated, "%s does not want %q", q.Image.Image, q.Auth.GetPassword())
	}
	s.here[q.Image.Image] = "id of " + q.Image.Image
	return &runtimeapi.PullImageResponse{ImageRef: s.here[q.Image.Image]}, nil
}

// bench is a Puller with a namespace full of secrets.
type bench struct {
	*Puller
	shop   *shop
	events []string
	starts []string // what it heard of pulls, by pod
	saw    map[string]*core.Secret
}

func (b *bench) Secret(_, name string) (*core.Secret, error) {
	if s := b.saw[name]; s != nil {
		return s, nil
	}
	return nil, errors.New("not found")
}

func (b *bench) Event(_ object.Object, _, reason, format string, args ...any) {
	b.events = append(b.events, reason+": "+fmt.Sprintf(format, args...))
}

func (b *bench) Field(o object.Object, _, kind, reason, format string, args ...any) {
	b.Event(o, kind, reason, format, args...)
}

// put makes a pull secret: where and a password, again and again.
func (b *bench) put(name string, pairs ...string) {
	var auths []string
	for i := 0; i < len(pairs); i += 2 {
		auths = append(auths, fmt.Sprintf(`%q:{"username":"u","password":%q}`, pairs[i], pairs[i+1]))
	}
	b.saw[name] = &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid of " + name)}, Type: core.SecretTypeDockerConfigJson,
		Data: map[string][]byte{core.DockerConfigJsonKey: []byte(`{"auths":{` + strings.Join(auths, ",") + `}}`)},
	}
}

func (b *bench) Pulling(uid types.UID) { b.starts = append(b.starts, "pulling for "+string(uid)) }
func (b *bench) Pulled(uid types.UID)  { b.starts = append(b.starts, "there for "+string(uid)) }

func newBench(t *testing.T, c Config) *bench {
	t.Helper()
	b := &bench{shop: &shop{here: map[string]string{}, registry: map[string]string{}}, saw: map[string]*core.Secret{}}
	var err error
	b.Puller, err = New(Deps{Config: c, Root: t.TempDir(), Images: b.shop, Secrets: b, Starts: b, Events: b, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ensure asks for an image and returns the reason that there is none, the message, and the events, all in one.
func (b *bench) ensure(image string, policy core.PullPolicy, secrets ...string) string {
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}}
	for _, s := range secrets {
		pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, core.LocalObjectReference{Name: s})
	}
	b.events = nil
	got, err := b.Ensure(context.Background(), &Want{
		Pod: pod, Field: "spec.containers{c}", Image: image, Policy: policy,
		Box: func() (*runtimeapi.PodSandboxConfig, error) { return &runtimeapi.PodSandboxConfig{}, nil },
	})
	for i, e := range b.events { // times are not the same twice
		if start, rest, ok := strings.Cut(e, " in "); ok {
			b.events[i] = start + rest[strings.Index(rest, "). ")+1:]
		}
	}
	var why *Error
	switch {
	case errors.As(err, &why):
		return strings.Join(append([]string{why.Error()}, b.events...), "\n")
	case err != nil:
		return err.Error()
	}
	return strings.Join(append([]string{got.Ref}, b.events...), "\n")
}

const (
	never     = core.PullNever
	ifMissing = core.PullIfNotPresent
)

func TestEnsure(t *testing.T) {
	b := newBench(t, Config{})
	b.shop.here["reg.example/preloaded:latest"] = "preloaded"
	b.shop.registry["reg.example/private:1"] = "p"
	b.shop.registry["reg.example/public:1"] = ""
	b.put("good", "reg.example", "p")
	b.put("bad", "reg.example", "guess")
	b.put("copy", "reg.example", "p")
	const (
		present = `Pulled: Container image "%s" already present on machine and can be accessed by the pod`
		fetched = "Pulling: Pulling image \"%[1]s\"\nPulled: Successfully pulled image \"%[1]s\". Image size: 7 bytes."
		nothing = "ErrImageNeverPull: Container image \"%[1]s\" is not present with pull policy of Never\n" +
			"ErrImageNeverPull: Container image \"%[1]s\" is not present with pull policy of Never"
	)
	refusal := func(password string) string {
		return fmt.Sprintf("ErrImagePull: reg.example/private:1 does not want %[1]q\nPulling: Pulling image \"reg.example/private:1\"\n"+
			"Failed: Failed to pull image \"reg.example/private:1\": reg.example/private:1 does not want %[1]q\nFailed: Error: ErrImagePull", password)
	}
	for _, c := range []struct {
		image   string
		policy  core.PullPolicy
		secrets []string
		want    string
	}{
		{"reg.example/preloaded", never, nil, "preloaded\n" + fmt.Sprintf(present, "reg.example/preloaded")},
		{"reg.example/preloaded", ifMissing, nil, "preloaded\n" + fmt.Sprintf(present, "reg.example/preloaded")},
		{"reg.example/private:1", never, []string{"good"}, fmt.Sprintf(nothing, "reg.example/private:1")},
		{"reg.example/private:1", ifMissing, nil, refusal("")},
		{"reg.example/private:1", ifMissing, []string{"good"}, "id of reg.example/private:1\n" + fmt.Sprintf(fetched, "reg.example/private:1")},
		// It is there, but only for those who can have it.
		{"reg.example/private:1", never, nil, fmt.Sprintf(nothing, "reg.example/private:1")},
		{"reg.example/private:1", never, []string{"bad"}, fmt.Sprintf(nothing, "reg.example/private:1")},
		{"reg.example/private:1", never, []string{"good"}, "id of reg.example/private:1\n" + fmt.Sprintf(present, "reg.example/private:1")},
		{"reg.example/private:1", never, []string{"bad", "copy"}, "id of reg.example/private:1\n" + fmt.Sprintf(present, "reg.example/private:1")},
		{"reg.example/private:1", ifMissing, nil, refusal("")},
		{"reg.example/private:1", ifMissing, []string{"bad"}, refusal("guess")},
		{"reg.example/private:1", ifMissing, []string{"good"}, "id of reg.example/private:1\n" + fmt.Sprintf(present, "reg.example/private:1")},
		{"reg.example/public:1", ifMissing, nil, "id of reg.example/public:1\n" + fmt.Sprintf(fetched, "reg.example/public:1")},
		{"reg.example/public:1", never, nil, "id of reg.example/public:1\n" + fmt.Sprintf(present, "reg.example/public:1")},
		{"reg.example/Public", never, nil, `InvalidImageName: Failed to apply default image tag "reg.example/Public": couldn't parse image name "reg.example/Public": invalid reference format: repository name (Public) must be lowercase` +
			"\n" + `InspectFailed: Failed to apply default image tag "reg.example/Public": couldn't parse image name "reg.example/Public": invalid reference format: repository name (Public) must be lowercase`},
	} {
		if got := b.ensure(c.image, c.policy, c.secrets...); got != c.want {
			t.Errorf("%s, %s, with %q: got\n%s\nwant\n%s", c.image, c.policy, c.secrets, got, c.want)
		}
	}
	var page prom.Page
	b.Page(&page)
	for _, line := range []string{
		`{pull_policy="never",present_locally="true",pull_required="true"} 2`, `{pull_policy="never",present_locally="false",pull_required="unknown"} 1`,
		`{pull_policy="ifnotpresent",present_locally="false",pull_required="true"} 3`, `{pull_policy="ifnotpresent",present_locally="true",pull_required="true"} 2`,
	} {
		if !strings.Contains(page.String(), "kubelet_image_manager_ensure_image_requests_total"+line) {
			t.Errorf("no %s in\n%s", line, page.String())
		}
	}
}

// TestAlways: the registry decides each time, whatever is known.
func TestAlways(t *testing.T) {
	b := newBench(t, Config{})
	b.shop.registry["reg.example/private:1"] = "p"
	b.put("good", "reg.example", "p")
	for range 2 {
		if got := b.ensure("reg.example/private:1", core.PullAlways, "good"); !strings.HasPrefix(got, "id of") {
			t.Error(got)
		}
	}
	if got := b.ensure("reg.example/private:1", core.PullAlways); !strings.HasPrefix(got, "ErrImagePull: ") {
		t.Error(got)
	}
	if want := []string{"p", "p", ""}; !slices.Equal(b.shop.asked, want) {
		t.Errorf("asked with %q, want %q", b.shop.asked, want)
	}
}

// TestOrder: the closest match of all secrets comes first; each reason is told once.
func TestOrder(t *testing.T) {
	b := newBench(t, Config{})
	b.shop.registry["reg.example/team/app:1"] = "none of these"
	b.put("one", "reg.example", "host", "reg.example/team", "team", "other.example", "other")
	b.put("two", "https://reg.example/team/app", "app", "*.example", "any", "reg.example", "host")
	got := b.ensure("reg.example/team/app:1", ifMissing, "one", "missing", "two")
	if want := []string{"app", "team", "host", "host", "any"}; !slices.Equal(b.shop.asked, want) {
		t.Errorf("asked with %q, want %q", b.shop.asked, want)
	}
	why := `ErrImagePull: [reg.example/team/app:1 does not want "app", reg.example/team/app:1 does not want "team", reg.example/team/app:1 does not want "host", reg.example/team/app:1 does not want "any"]`
	if first, _, _ := strings.Cut(got, "\n"); first != why {
		t.Errorf("got %s, want %s", first, why)
	}
	if want := "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing); attempting to pull the image may not succeed."; !slices.Contains(b.events, want) {
		t.Errorf("events %q", b.events)
	}
}

// plugins gives one credential.
type plugins struct{ pulled.Credential }

func (p plugins) For(context.Context, string, *core.Pod) []pulled.Credential {
	return []pulled.Credential{p.Credential}
}

// TestPlugins: what a plugin said for a service account is that account's, what it said for anybody is everybody's.
func TestPlugins(t *testing.T) {
	b := newBench(t, Config{})
	b.shop.registry["reg.example/a:1"], b.shop.registry["reg.example/b:1"] = "p", "p"
	mine := pulled.Credential{Entry: dockerauth.Entry{Password: "p"}, Account: &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "1"}}}
	b.Credentials = plugins{mine}
	theirs := mine
	theirs.Account = &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "other", UID: "2"}}
	if got := b.ensure("reg.example/a:1", ifMissing); !strings.HasPrefix(got, "id of") {
		t.Fatal(got)
	}
	if got := b.ensure("reg.example/a:1", never); !strings.HasPrefix(got, "id of") {
		t.Error(got)
	}
	b.Credentials = plugins{theirs}
	if got := b.ensure("reg.example/a:1", never); !strings.HasPrefix(got, "ErrImageNeverPull") {
		t.Error(got)
	}
	b.Credentials = plugins{pulled.Credential{Entry: mine.Entry}}
	if got := b.ensure("reg.example/b:1", ifMissing); !strings.HasPrefix(got, "id of") {
		t.Fatal(got)
	}
	b.Credentials = nil
	if got := b.ensure("reg.example/b:1", never); !strings.HasPrefix(got, "id of") {
		t.Error(got)
	}
}

func TestReasons(t *testing.T) {
	b := newBench(t, Config{})
	for fail, want := range map[string]string{
		"RegistryUnavailable: no route":              "RegistryUnavailable: image pull failed for a:1 because the registry is unavailable: no route",
		"SignatureValidationFailed: who signed that": "SignatureValidationFailed: image pull failed for a:1 because the signature validation failed: who signed that",
		"SignatureValidation":                        "ErrImagePull: SignatureValidation",
	} {
		b.shop.fail = gstatus.Error(codes.Unknown, fail)
		got, _, _ := strings.Cut(b.ensure("a:1", ifMissing), "\n")
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRate(t *testing.T) {
	b := newBench(t, Config{PerSecond: 1, Burst: 2})
	for i, want := range []string{"ErrImagePull: a:1 does not", "ErrImagePull: a:1 does not", "ErrImagePull: pull QPS exceeded"} {
		b.shop.registry["a:1"] = "p"
		if got := b.ensure("a:1", ifMissing); !strings.HasPrefix(got, want) {
			t.Errorf("pull %d: %s, want %s", i, got, want)
		}
	}
	at := time.Unix(0, 0)
	k := newBucket(5, 0)
	n := 0
	for range 20 {
		if k.take(at) {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d pulls at once, want 10", n)
	}
	for after, want := range map[time.Duration]bool{199 * time.Millisecond: false, 200 * time.Millisecond: true} {
		k := bucket{perSecond: 5, burst: 10, at: at}
		if got := k.take(at.Add(after)); got != want {
			t.Errorf("after %v: %v", after, got)
		}
	}
	k = bucket{perSecond: 5, burst: 3, at: at}
	if k.take(at.Add(time.Hour)); k.have != 2 {
		t.Errorf("an hour fills %v more than there is room for", k.have)
	}
}

// TestDeath: what was pulled when the process died is asked for by the name that the runtime knows.
func TestDeath(t *testing.T) {
	b := newBench(t, Config{})
	if _, err := b.Begin("reg.example/app"); err != nil {
		t.Fatal(err)
	}
	b.shop.here["reg.example/app:latest"] = "id"
	again, err := New(b.Deps)
	if err != nil {
		t.Fatal(err)
	}
	again.Recover(context.Background())
	if again.MayUse("reg.example/app:latest", "id", func() []pulled.Credential { return nil }) {
		t.Error("what a dead process pulled counts as preloaded by another name")
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"web/": `couldn't parse image name "web/": invalid reference format`, "": `couldn't parse image name "": invalid reference format`,
		"WEB":       `couldn't parse image name "WEB": invalid reference format: repository name (library/WEB) must be lowercase`,
		"a:1:2":     `couldn't parse image name "a:1:2": invalid reference format`,
		"REG/web:1": "",
		strings.Repeat("a", 64): `couldn't parse image name "` + strings.Repeat("a", 64) + `": invalid repository name (` + strings.Repeat("a", 64) +
			"), cannot specify 64-byte hexadecimal strings",
	} {
		if _, err := withTag(in); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
}

// TestStarts: the time that a pod waits for images is not that of its start.
func TestStarts(t *testing.T) {
	b := newBench(t, Config{})
	b.shop.registry["docker.io/web:1"] = ""
	b.ensure("docker.io/web:1", ifMissing)
	b.ensure("docker.io/web:1", ifMissing)
	b.ensure("docker.io/none:1", never)
	if got := strings.Join(b.starts, ", "); got != "pulling for u, there for u, there for u" {
		t.Error(got)
	}
}
