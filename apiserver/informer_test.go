package apiserver_test

import (
	"fmt"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"proa.dev/apiserver/apitest"
)

// The clients that everybody uses, in protobuf and JSON: typed calls, and informers, which begin with a WatchList.
func TestClientGo(t *testing.T) {
	for _, kind := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(kind, func(t *testing.T) {
			s := apitest.Start(t)
			cs, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: kind, AcceptContentTypes: kind}})
			if err != nil {
				t.Fatal(err)
			}
			maps := cs.CoreV1().ConfigMaps("default")
			for i := range 5 {
				if _, err := maps.Create(t.Context(), &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}}, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			l, err := maps.List(t.Context(), metav1.ListOptions{})
			if err != nil || len(l.Items) != 5 || l.ResourceVersion == "" {
				t.Fatalf("list: %v, %v", l, err)
			}
			f := informers.NewSharedInformerFactory(cs, 0)
			heard := make(chan string, 100)
			inf := f.Core().V1().ConfigMaps().Informer()
			if _, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(o any) { heard <- "add " + o.(*core.ConfigMap).Name },
				UpdateFunc: func(_, o any) { heard <- "update " + o.(*core.ConfigMap).Name },
				DeleteFunc: func(o any) { heard <- "delete " + o.(*core.ConfigMap).Name },
			}); err != nil {
				t.Fatal(err)
			}
			f.Start(t.Context().Done())
			t.Cleanup(f.Shutdown)
			if !cache.WaitForCacheSync(t.Context().Done(), inf.HasSynced) {
				t.Fatal("the informer did not sync")
			}
			next := func() string {
				select {
				case h := <-heard:
					return h
				case <-time.After(10 * time.Second):
					return "nothing"
				}
			}
			for range 5 {
				if h := next(); h[:5] != "add m" {
					t.Errorf("heard %s", h)
				}
			}
			m := l.Items[0]
			m.Data = map[string]string{"a": "b"}
			if _, err := maps.Update(t.Context(), &m, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := maps.Delete(t.Context(), "m1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if a, b := next(), next(); a != "update m0" || b != "delete m1" {
				t.Errorf("heard %s, %s", a, b)
			}
		})
	}
}
