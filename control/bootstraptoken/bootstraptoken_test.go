package bootstraptoken

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

func TestTokensSignAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&core.Secret{}, &core.ConfigMap{})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, c.Run)
		token := func(id string, signs string, life time.Duration) *core.Secret {
			return &core.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: core.SecretTypeBootstrapToken,
				Data: map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte(signs),
					"expiration": []byte(time.Now().Add(life).UTC().Format(time.RFC3339))}}
		}
		a.Put(token("abcdef", "true", time.Hour), token("nosign", "false", time.Hour), &core.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: infoKey.Namespace, Name: infoKey.Name},
			Data:       map[string]string{kubeconfig: "where it is", signature + "stale0": "x"}})
		time.Sleep(time.Second)
		info, _ := client.Lookup[core.ConfigMap](a.View(), infoKey)
		if len(info.Data) != 2 {
			t.Fatalf("got %v", info.Data)
		}
		if got, want := info.Data[signature+"abcdef"], detached("where it is", "abcdef", []byte("0123456789abcdef")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		time.Sleep(59 * time.Minute)
		key := object.Key{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}
		if _, ok := client.Lookup[core.Secret](a.View(), key); !ok {
			t.Error("the token went too early")
		}
		time.Sleep(2 * time.Minute)
		if _, ok := client.Lookup[core.Secret](a.View(), key); ok {
			t.Error("the token outlives its time")
		}
		if info, _ = client.Lookup[core.ConfigMap](a.View(), infoKey); len(info.Data) != 1 {
			t.Errorf("signatures are left: %v", info.Data)
		}
	})
}

// What kubeadm computes on the other side.
func TestSignature(t *testing.T) {
	got := detached("Hello from the other side. I must have called a thousand times.", "joshua", []byte("my voice is my passcode"))
	if want := "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
