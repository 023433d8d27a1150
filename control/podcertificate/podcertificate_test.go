package podcertificate

import (
	"testing"
	"testing/synctest"
	"time"

	certificates "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/control/controltest"
)

func TestRequestsGoAfterAQuarterOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := controltest.New(t)
		a.Serve(&certificates.PodCertificateRequest{})
		a.Put(&certificates.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old", CreationTimestamp: metav1.Time{Time: time.Now().Add(-keep)}}},
			&certificates.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "new"}})
		c, err := New(control.Deps{Client: a.Client(), View: a.View()})
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = c.Run(t.Context()) }() // ends with the test
		synctest.Wait()
		if w := a.Writes(); len(w) != 1 || w[0] != "delete podcertificaterequests shop/old" {
			t.Errorf("at once: %v", w)
		}
		time.Sleep(keep - time.Second)
		synctest.Wait()
		if w := a.Writes(); len(w) != 0 {
			t.Errorf("before its time: %v", w)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if w := a.Writes(); len(w) != 1 || w[0] != "delete podcertificaterequests shop/new" {
			t.Errorf("at its time: %v", w)
		}
	})
}
