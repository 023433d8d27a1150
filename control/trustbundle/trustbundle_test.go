package trustbundle

import (
	"slices"
	"testing"
	"testing/synctest"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func TestThereIsOneBundle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&certificates.ClusterTrustBundle{}, &core.Namespace{})
		bundle := func(name, signer, text string) *certificates.ClusterTrustBundle {
			return &certificates.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificates.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text}}
		}
		a.Put(&core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}, bundle("kubernetes.io:kube-apiserver-serving:before", Signer, "old"), bundle("mine", "", "x"))
		c, err := New(control.Deps{Client: a.Client(), View: a.View(), CAPEM: []byte("PEM")})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Run(t.Context()) }() // ends with the test
		const name = "kubernetes.io:kube-apiserver-serving:384fb9a44fabe158be2757b9"
		want := []string{"create clustertrustbundles " + nameOf("PEM"), "delete clustertrustbundles kubernetes.io:kube-apiserver-serving:before"}
		synctest.Wait()
		if w := a.Writes(); !slices.Equal(w, want) {
			t.Errorf("at the start: %q", w)
		}
		b, ok := client.Lookup[certificates.ClusterTrustBundle](a.View(), object.Key{Name: nameOf("PEM")})
		if !ok || b.Spec.TrustBundle != "PEM" || b.Spec.SignerName != Signer {
			t.Fatalf("the bundle: %+v", b)
		}
		changed := object.Clone(b)
		changed.Spec.TrustBundle = "other"
		a.Put(changed)
		synctest.Wait()
		if w := a.Writes(); !slices.Equal(w, []string{"update clustertrustbundles " + b.Name}) {
			t.Errorf("after somebody changed it: %q", w)
		}
		if got := nameOf("PEM"); got != name {
			t.Errorf("name %s", got)
		}
	})
}
