package accounttoken

import (
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

// world is an API with the controller at work. It belongs to a synctest bubble.
func world(t *testing.T) *controltest.API {
	t.Helper()
	a := controltest.New(t)
	a.Serve(&core.Secret{}, &core.ServiceAccount{}, &core.ConfigMap{}, &core.Pod{})
	c, err := New(control.Deps{Client: a.Client(), View: a.View(), CAPEM: []byte("CA")}, Config{
		Sign: func(acc *core.ServiceAccount, secret string) (string, error) { return acc.Name + "/" + secret, nil }})
	if err != nil {
		t.Fatal(err)
	}
	controltest.Run(t, c.Run)
	return a
}

func secret(name string) *core.Secret {
	return &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name,
		Annotations: map[string]string{core.ServiceAccountNameKey: "web"}}, Type: core.SecretTypeServiceAccountToken}
}

func account(secrets ...string) *core.ServiceAccount {
	a := &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	for _, s := range secrets {
		a.Secrets = append(a.Secrets, core.ObjectReference{Name: s})
	}
	return a
}

func find(a *controltest.API, name string) (*core.Secret, bool) {
	return client.Lookup[core.Secret](a.View(), object.Key{Namespace: "shop", Name: name})
}

func TestSecretsAreFilledAndGoWithTheirAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t)
		a.Put(account("s"), secret("s"), secret("orphan"))
		orphan, _ := find(a, "orphan")
		next := object.Clone(orphan)
		next.Annotations[core.ServiceAccountNameKey] = "nobody"
		a.Put(next)
		time.Sleep(time.Second)
		s, ok := find(a, "s")
		if !ok || string(s.Data["token"]) != "web/s" || string(s.Data["ca.crt"]) != "CA" || string(s.Data["namespace"]) != "shop" || s.Annotations[core.ServiceAccountUIDKey] == "" {
			t.Fatalf("got %+v", s)
		}
		if _, ok := find(a, "orphan"); ok {
			t.Error("the token of an account that is not there is kept")
		}
		acc, _ := client.Lookup[core.ServiceAccount](a.View(), object.Key{Namespace: "shop", Name: "web"})
		a.Remove(acc)
		time.Sleep(time.Second)
		if _, ok := find(a, "s"); ok {
			t.Error("the token outlives its account")
		}
	})
}

func TestAccountsForgetSecretsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t)
		a.Put(account("s", "other"), secret("s"))
		time.Sleep(time.Second)
		s, _ := find(a, "s")
		a.Remove(s)
		time.Sleep(time.Second)
		acc, _ := client.Lookup[core.ServiceAccount](a.View(), object.Key{Namespace: "shop", Name: "web"})
		if len(acc.Secrets) != 1 || acc.Secrets[0].Name != "other" {
			t.Errorf("the account lists %v", acc.Secrets)
		}
	})
}

// A token that was made for an account and that nobody uses is refused after a year, and gone after another.
func TestUnusedTokensGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t)
		a.Put(account("old", "used"), secret("old"), secret("used"), secret("by-hand"),
			&core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: trackingName},
				Data: map[string]string{trackingKey: time.Now().UTC().Format(time.DateOnly)}},
			&core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: core.PodSpec{Volumes: []core.Volume{{
				VolumeSource: core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "used"}}}}}})
		time.Sleep(unused - 24*time.Hour)
		if s, _ := find(a, "old"); s.Labels[invalidSinceLabel] != "" {
			t.Error("refused too early")
		}
		time.Sleep(4 * 24 * time.Hour)
		for name, want := range map[string]bool{"old": true, "used": false, "by-hand": false} {
			if s, _ := find(a, name); (s.Labels[invalidSinceLabel] != "") != want {
				t.Errorf("%s has the labels %v", name, s.Labels)
			}
		}
		time.Sleep(unused + 4*24*time.Hour)
		for name, want := range map[string]bool{"old": false, "used": true, "by-hand": true} {
			if _, ok := find(a, name); ok != want {
				t.Errorf("%s is there: %v", name, ok)
			}
		}
	})
}
