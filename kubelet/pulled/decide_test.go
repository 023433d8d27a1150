package pulled

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/dockerauth"
)

// secret is a credential of a pull secret, account one of a service account.
func secret(ns, name, uid, password string) Credential {
	return Credential{
		Entry:  dockerauth.Entry{Username: "u", Password: password},
		Secret: &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}},
	}
}

func account(ns, name, uid string) Credential {
	return Credential{Account: &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(uid)}}}
}

// told is how a credential stands in a record.
func told(t *testing.T, c Credential) Secret {
	t.Helper()
	s, err := c.secret()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecide(t *testing.T) {
	const image = "reg.example/app:1"
	mine := secret("ns", "pull", "1", "p")
	rec := func(p Pullers) *record { return &record{By: map[string]Pullers{"reg.example/app": p}} }
	mineOnly := rec(Pullers{Secrets: []Secret{told(t, mine)}})
	crowd := Pullers{}
	for i := range maxLearned {
		crowd.Secrets = append(crowd.Secrets, told(t, secret("ns", fmt.Sprint("s", i), fmt.Sprint(i), "p")))
	}
	none, unasked := []Credential{}, []Credential(nil)
	for _, c := range []struct {
		what   string
		policy Policy
		image  string
		known  known
		has    []Credential // nil: the pod's credentials must not be looked up
		want   verdict
		learn  bool
	}{
		{"preloaded", Policy{}, image, known{}, unasked, byPolicy, false},
		{"begun", Policy{}, image, known{begun: true}, unasked, refused, false},
		{"broken", Policy{}, image, known{broken: true}, unasked, unreadable, false},
		{"of everybody", Policy{}, image, known{record: rec(Pullers{Everybody: true})}, unasked, byRecord, false},
		{"of nobody", Policy{}, image, known{record: rec(Pullers{})}, unasked, refused, false},
		{"without a mapping", Policy{}, image, known{record: &record{}}, unasked, refused, false},
		{"by another name", Policy{}, "reg.example/other", known{record: mineOnly}, unasked, refused, false},
		{"by another tag", Policy{}, "reg.example/app@sha256:" + zeros, known{record: mineOnly}, []Credential{mine}, byRecord, false},
		{"no credentials", Policy{}, image, known{record: mineOnly}, none, refused, false},
		{"the same", Policy{}, image, known{record: mineOnly}, []Credential{mine}, byRecord, false},
		{"the same content elsewhere", Policy{}, image, known{record: mineOnly}, []Credential{secret("other", "pull", "2", "p")}, byRecord, true},
		{"the same object, changed", Policy{}, image, known{record: mineOnly}, []Credential{secret("ns", "pull", "1", "new")}, byRecord, true},
		{"the same name, made anew", Policy{}, image, known{record: mineOnly}, []Credential{secret("ns", "pull", "2", "new")}, refused, false},
		{"the second one", Policy{}, image, known{record: mineOnly}, []Credential{secret("ns", "x", "7", "x"), mine}, byRecord, false},
		{"the same content, crowded", Policy{}, image, known{record: rec(crowd)}, []Credential{secret("other", "pull", "x", "p")}, byRecord, false},
		{"the same object, crowded", Policy{}, image, known{record: rec(crowd)}, []Credential{secret("ns", "s5", "5", "new")}, refused, false},
		{"an empty hash is no match", Policy{}, image, known{record: rec(Pullers{Secrets: []Secret{{UID: "9"}}})}, []Credential{mine}, refused, false},
		{"account", Policy{}, image, known{record: rec(Pullers{Accounts: []Account{{"1", "ns", "sa"}}})}, []Credential{account("ns", "sa", "1")}, byRecord, false},
		{"account made anew", Policy{}, image, known{record: rec(Pullers{Accounts: []Account{{"1", "ns", "sa"}}})}, []Credential{account("ns", "sa", "2")}, refused, false},
		{"account for a secret's", Policy{}, image, known{record: mineOnly}, []Credential{account("ns", "pull", "1")}, refused, false},
		{"the node's credentials prove nothing", Policy{}, image, known{record: mineOnly}, []Credential{{Entry: mine.Entry}}, refused, false},

		{"never", Policy{Verify: Never}, image, known{record: mineOnly}, unasked, byPolicy, false},
		{"never, begun", Policy{Verify: Never}, image, known{begun: true}, unasked, byPolicy, false},
		{"always, preloaded", Policy{Verify: Always}, image, known{}, unasked, refused, false},
		{"always, of everybody", Policy{Verify: Always}, image, known{record: rec(Pullers{Everybody: true})}, unasked, byRecord, false},
		{"always, the same", Policy{Verify: Always}, image, known{record: mineOnly}, []Credential{mine}, byRecord, false},
		{"allowed", Policy{Verify: Allowlisted, Allow: []string{"reg.example/app"}}, image, known{}, unasked, byPolicy, false},
		{"allowed though pulled", Policy{Verify: Allowlisted, Allow: []string{"reg.example/app"}}, image, known{record: mineOnly}, unasked, byPolicy, false},
		{"allowed with all others", Policy{Verify: Allowlisted, Allow: []string{"reg.example/*"}}, image, known{}, unasked, byPolicy, false},
		{"not allowed: a longer name", Policy{Verify: Allowlisted, Allow: []string{"reg.example/ap"}}, image, known{}, unasked, refused, false},
		{"not allowed: another registry", Policy{Verify: Allowlisted, Allow: []string{"reg.example/*"}}, "reg.example.evil/app", known{}, unasked, refused, false},
	} {
		p, err := c.policy.Complete()
		if err != nil {
			t.Fatal(err)
		}
		got, learn := p.decide(c.image, c.known, func() []Credential {
			if c.has == nil {
				t.Errorf("%s: the pod's credentials were looked up", c.what)
			}
			return c.has
		})
		if got != c.want || (learn != nil) != c.learn {
			t.Errorf("%s: got %s, learn %v; want %s, %v", c.what, got, learn, c.want, c.learn)
		}
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestMerge(t *testing.T) {
	a, b := Secret{"1", "ns", "a", "h"}, Secret{"2", "ns", "b", "h"}
	x, y := Account{"1", "ns", "x"}, Account{"2", "ns", "y"}
	for _, c := range []struct {
		what           string
		old, add, want Pullers
	}{
		{"nobody", Pullers{Secrets: []Secret{a}}, Pullers{}, Pullers{Secrets: []Secret{a}}},
		{"another", Pullers{Secrets: []Secret{b}}, Pullers{Secrets: []Secret{a}}, Pullers{Secrets: []Secret{a, b}}},
		{"other content", Pullers{Secrets: []Secret{a, b}}, Pullers{Secrets: []Secret{{"1", "ns", "a", "new"}}}, Pullers{Secrets: []Secret{{"1", "ns", "a", "new"}, b}}},
		{"made anew", Pullers{Secrets: []Secret{a}}, Pullers{Secrets: []Secret{{"0", "ns", "a", "h"}}}, Pullers{Secrets: []Secret{{"0", "ns", "a", "h"}, a}}},
		{"an account", Pullers{Secrets: []Secret{a}}, Pullers{Accounts: []Account{x}}, Pullers{Secrets: []Secret{a}, Accounts: []Account{x}}},
		{"another account", Pullers{Accounts: []Account{y}}, Pullers{Accounts: []Account{x, y}}, Pullers{Accounts: []Account{x, y}}},
		{"everybody", Pullers{Secrets: []Secret{a}, Accounts: []Account{x}}, Pullers{Everybody: true}, Pullers{Everybody: true}},
		{"one more than everybody", Pullers{Everybody: true}, Pullers{Secrets: []Secret{a}}, Pullers{Everybody: true}},
	} {
		orig := &record{By: map[string]Pullers{"i": c.old, "other": {Everybody: true}}}
		got := merge(orig, "i", c.add)
		if d := cmp.Diff(map[string]Pullers{"i": c.want, "other": {Everybody: true}}, got.By); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
		if changed := !cmp.Equal(c.old, c.want); changed == (got == orig) {
			t.Errorf("%s: it is told as changed: %v", c.what, got != orig)
		}
		if d := cmp.Diff(c.old, orig.By["i"]); d != "" {
			t.Errorf("%s: what was there was written to: %s", c.what, d)
		}
	}
}

func TestPolicy(t *testing.T) {
	for pattern, want := range map[string]string{
		"reg.example/app": "", "reg.example/team/*": "", "reg.example/*": "", "busybox": "", "reg.example:5000/app": "",
		" reg.example/app":  "leading/trailing spaces are not allowed:  reg.example/app",
		"":                  "the supplied pattern is too short: ",
		"*":                 "not a valid wildcard pattern, only patterns ending with '/*' are allowed: *",
		"reg.example/te*":   "not a valid wildcard pattern, only patterns ending with '/*' are allowed: reg.example/te*",
		"reg.example/*/x":   "not a valid wildcard pattern, only patterns ending with '/*' are allowed: reg.example/*/x",
		"/*":                "at least registry hostname is required",
		"reg.example/app:1": "neither tag nor digest is accepted in an image reference: reg.example/app:1",
		"reg.example/App":   "failed to parse as an image name: repository name must be lowercase",
		"reg.example/a b":   "failed to parse as an image name: invalid reference format",
	} {
		_, err := Policy{Verify: Allowlisted, Allow: []string{pattern}}.Complete()
		if want != "" {
			want = "kubelet.preloadedImagesVerificationAllowlist: " + want
		}
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%q: %v, want %s", pattern, err, want)
		}
	}
	if _, err := (Policy{Verify: "Sometimes"}).Complete(); err == nil {
		t.Error("a policy that does not exist is taken")
	}
	if _, err := (Policy{Allow: []string{"a"}}).Complete(); err == nil {
		t.Error("a list is taken that nobody would read")
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][3]string{
		"web": {"web"}, "web:1": {"web", "1"}, "host:5000/web": {"host:5000/web"}, "host:5000/a/web:1": {"host:5000/a/web", "1"},
		"a/b@sha256:" + zeros: {"a/b", "", "sha256:" + zeros}, "A.b:1/c:T@sha256:" + zeros: {"A.b:1/c", "T", "sha256:" + zeros},
		"[::1]:5000/a": {"[::1]:5000/a"}, "[::1]/a": {"[::1]/a"}, "a__b/c--d": {"a__b/c--d"},
	} {
		name, tag, sum, err := Split(in)
		if got := [3]string{name, tag, sum}; err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]error{
		"": errEmpty, "Web": errUppercase, "a//b": errFormat, "a:": errFormat, "a@sha256:12": errFormat, "a___b": errFormat, "a/": errFormat,
		"-a/b": errFormat, "a:b:c": errFormat, "[]/a": errFormat, "a..b": errFormat, "[::1]x/a": errFormat, "a@": errFormat,
	} {
		if _, _, _, err := Split(in); err != want {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
	if _, _, _, err := Split("a@sha256:" + zeros[:40]); err == nil {
		t.Error("half a digest was taken")
	}
}
