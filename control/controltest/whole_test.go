//lint:file-ignore SA1019 Endpoints are deprecated, but clients still read them: they are served and kept.

package controltest_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/client"
	"proa.dev/client/record"
	"proa.dev/control"
	"proa.dev/control/controltest"
	"proa.dev/control/cronjob"
	"proa.dev/control/daemonset"
	"proa.dev/control/deployment"
	"proa.dev/control/endpointslice"
	"proa.dev/control/job"
	"proa.dev/control/namespace"
	"proa.dev/control/nodelife"
	"proa.dev/control/ownergc"
	"proa.dev/control/podgc"
	"proa.dev/control/replicaset"
	"proa.dev/control/rootca"
	"proa.dev/control/serviceaccount"
	"proa.dev/control/statefulset"
	"proa.dev/control/volumebind"
	"proa.dev/object"
)

// world is a real API server in process with every controller, and a node whose kubelet only says that pods run.
type world struct {
	t  *testing.T
	c  client.Client
	v  client.View
	mu sync.Mutex // guards warnings
	// warnings are what the controllers logged: there should be none.
	warnings []string
}

// Write implements io.Writer for the log of the controllers.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warnings = append(w.warnings, strings.TrimSpace(string(b)))
	return len(b), nil
}

func newWorld(t *testing.T) *world {
	s := apitest.Start(t)
	w := &world{t: t, c: s.Client, v: s.View()}
	events := record.New(w.c, "controllers", "")
	d := control.Deps{
		Client: w.c, View: w.v, Events: events, CAPEM: []byte("PEM"),
		Log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	type runner interface{ Run(context.Context) error }
	add := func(r runner, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		controltest.Run(t, r.Run)
	}
	add(events, nil)
	for _, make := range []func() (runner, error){
		func() (runner, error) { return cronjob.New(d) }, func() (runner, error) { return daemonset.New(d) },
		func() (runner, error) { return deployment.New(d) }, func() (runner, error) { return endpointslice.New(d) },
		func() (runner, error) { return job.New(d) }, func() (runner, error) { return namespace.New(d) },
		func() (runner, error) { return nodelife.New(d) }, func() (runner, error) { return ownergc.New(d) },
		func() (runner, error) { return podgc.New(d) }, func() (runner, error) { return replicaset.New(d) },
		func() (runner, error) { return rootca.New(d) }, func() (runner, error) { return serviceaccount.New(d) },
		func() (runner, error) { return statefulset.New(d) }, func() (runner, error) { return volumebind.New(d) },
	} {
		add(make())
	}
	controltest.Run(t, w.kubelet)
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, line := range w.warnings {
			t.Errorf("logged: %s", line)
		}
	})
	n := create(w, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	n = object.Clone(n)
	n.Status.Conditions = []core.NodeCondition{{Type: core.NodeReady, Status: core.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
	if _, err := client.UpdateStatus(t.Context(), w.c, n); err != nil {
		t.Fatal(err)
	}
	return w
}

func create[T any, P object.Ptr[T]](w *world, o P) P {
	w.t.Helper()
	made, err := client.Create[T](w.t.Context(), w.c, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// change updates an object until no conflict comes in between.
func change[T any, P object.Ptr[T]](w *world, key object.Key, fn func(P)) {
	w.t.Helper()
	for range 20 {
		o, ok := client.Lookup[T, P](w.v, key)
		if !ok {
			w.t.Fatalf("%s is gone", key)
		}
		n := object.Clone[T](o)
		fn(n)
		_, err := client.Update[T](w.t.Context(), w.c, n)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("nothing but conflicts")
}

// until waits, at most 20 s, for something to become true.
func (w *world) until(what string, fn func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	for time.Since(start) < 20*time.Second {
		if fn() {
			return time.Since(start)
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.t.Fatalf("waited 20 s for %s", what)
	return 0
}

// kubelet binds pods to n1, says that they run and, for Jobs, that they are done, and lets deleted ones go.
func (w *world) kubelet(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	return client.Watch[core.Pod](ctx, w.v, func(e client.EventType, p, _ *core.Pod) {
		if p == nil || e == client.Deleted || p.Labels["idle"] != "" {
			return
		}
		wg.Go(func() {
			if err := w.step(ctx, p); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				w.t.Errorf("kubelet: %s: %v", p.Name, err)
			}
		})
	})
}

func (w *world) step(ctx context.Context, p *core.Pod) error {
	switch {
	case p.Spec.NodeName == "" && p.DeletionTimestamp == nil:
		t := client.TargetOf[core.Pod](object.KeyOf(p))
		t.Sub = "binding"
		_, err := w.c.Create(ctx, t, &core.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, Target: core.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{})
		return err
	case p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds > 0:
		return w.c.Delete(ctx, client.TargetOf[core.Pod](object.KeyOf(p)), metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	case p.Status.Phase == core.PodPending && p.DeletionTimestamp == nil:
		n := object.Clone(p)
		n.Status.Phase = core.PodRunning
		n.Status.PodIP = "10.42.0.9"
		n.Status.PodIPs = []core.PodIP{{IP: "10.42.0.9"}}
		n.Status.StartTime = new(metav1.Now())
		n.Status.Conditions = append(n.Status.Conditions, core.PodCondition{Type: core.PodReady, Status: core.ConditionTrue, LastTransitionTime: metav1.Now()})
		if p.Labels["job"] != "" {
			n.Status.Phase = core.PodSucceeded
			n.Status.Conditions = nil
		}
		_, err := client.UpdateStatus(ctx, w.c, n)
		return err
	}
	return nil
}

func template(labels map[string]string, image string) core.PodTemplateSpec {
	return core.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       core.PodSpec{Containers: []core.Container{{Name: "c", Image: image}}},
	}
}

func newDeployment(ns, name string, n int32, labels map[string]string) *apps.Deployment {
	return &apps.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       apps.DeploymentSpec{Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels, "i:1")},
	}
}

func (w *world) complete(key object.Key, n int32) bool {
	d, ok := client.Lookup[apps.Deployment](w.v, key)
	return ok && d.Status.ObservedGeneration == d.Generation && d.Status.AvailableReplicas == n && d.Status.UpdatedReplicas == n && d.Status.Replicas == n
}

func TestWorkloadsOnTheRealAPI(t *testing.T) {
	w := newWorld(t)
	ns := create(w, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	w.until("default account and CA", func() bool {
		_, sa := client.Lookup[core.ServiceAccount](w.v, object.Key{Namespace: "shop", Name: "default"})
		_, ca := client.Lookup[core.ConfigMap](w.v, object.Key{Namespace: "shop", Name: "kube-root-ca.crt"})
		return sa && ca
	})
	key := object.Key{Namespace: "shop", Name: "web"}
	labels := map[string]string{"app": "web"}
	create(w, newDeployment("shop", "web", 3, labels))
	t.Logf("Deployment of 3 available after %v", w.until("Deployment", func() bool { return w.complete(key, 3) }))
	create(w, &core.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       core.ServiceSpec{Selector: labels, Ports: []core.ServicePort{{Port: 80}}},
	})
	w.until("3 endpoints", func() bool {
		for _, s := range client.ListOf[discovery.EndpointSlice](w.v, client.Select{Namespace: "shop"}) {
			if len(s.Endpoints) == 3 && *s.Endpoints[0].Conditions.Ready {
				e, ok := client.Lookup[core.Endpoints](w.v, key)
				return ok && len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == 3
			}
		}
		return false
	})
	change(w, key, func(d *apps.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "i:2" })
	w.until("rolling update", func() bool { return w.complete(key, 3) })
	d, _ := client.Lookup[apps.Deployment](w.v, key)
	w.until("revision 2", func() bool {
		d, _ = client.Lookup[apps.Deployment](w.v, key)
		return d.Annotations[deployment.RevisionAnnotation] == "2"
	})
	others(w)
	w.until("an event", func() bool {
		for _, e := range client.ListOf[core.Event](w.v, client.Select{Namespace: "shop"}) {
			if e.Reason == "ScalingReplicaSet" && strings.HasPrefix(e.Message, "Scaled up replica set web-") {
				return true
			}
		}
		return false
	})
	if err := client.Delete[core.Namespace](t.Context(), w.c, object.Key{Name: "shop"}, ns.UID); err != nil {
		t.Fatal(err)
	}
	w.until("namespace gone", func() bool { _, ok := client.Lookup[core.Namespace](w.v, object.Key{Name: "shop"}); return !ok })
	for _, r := range w.v.Resources() {
		if n := len(w.v.List(r.GroupVersionResource, client.Select{Namespace: "shop"})); n > 0 {
			t.Errorf("%d %s are left", n, r.Resource)
		}
	}
}

// others runs one of each other workload to where it should come.
func others(w *world) {
	w.t.Helper()
	db := map[string]string{"app": "db"}
	create(w, &apps.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"},
		Spec:       apps.StatefulSetSpec{Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: db}, ServiceName: "db", Template: template(db, "i:1")},
	})
	agent := map[string]string{"app": "agent"}
	create(w, &apps.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "agent"},
		Spec:       apps.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: agent}, Template: template(agent, "i:1")},
	})
	volume := create(w, &core.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "disk"},
		Spec: core.PersistentVolumeSpec{
			Capacity: core.ResourceList{core.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []core.PersistentVolumeAccessMode{core.ReadWriteOnce},
			PersistentVolumeSource: core.PersistentVolumeSource{HostPath: &core.HostPathVolumeSource{Path: "/tmp/disk"}},
		},
	})
	create(w, &core.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data"},
		Spec: core.PersistentVolumeClaimSpec{
			StorageClassName: new(""), AccessModes: volume.Spec.AccessModes,
			Resources: core.VolumeResourceRequirements{Requests: volume.Spec.Capacity},
		},
	})
	work := template(map[string]string{"job": "work"}, "i:1")
	work.Spec.RestartPolicy = core.RestartPolicyNever
	create(w, &batch.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "work"},
		Spec:       batch.JobSpec{Completions: new(int32(5)), Parallelism: new(int32(2)), CompletionMode: new(batch.IndexedCompletion), Template: work},
	})
	rc := map[string]string{"app": "rc"}
	t := template(rc, "i:1")
	create(w, &core.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "rc"},
		Spec:       core.ReplicationControllerSpec{Replicas: new(int32(2)), Selector: rc, Template: &t},
	})
	w.until("claim", func() bool {
		c, _ := client.Lookup[core.PersistentVolumeClaim](w.v, object.Key{Namespace: "shop", Name: "data"})
		v, _ := client.Lookup[core.PersistentVolume](w.v, object.Key{Name: "disk"})
		return c.Status.Phase == core.ClaimBound && v.Status.Phase == core.VolumeBound
	})
	w.until("StatefulSet", func() bool {
		s, _ := client.Lookup[apps.StatefulSet](w.v, object.Key{Namespace: "shop", Name: "db"})
		return s.Status.AvailableReplicas == 3 && s.Status.CurrentRevision == s.Status.UpdateRevision && s.Status.CurrentRevision != ""
	})
	w.until("DaemonSet", func() bool {
		s, _ := client.Lookup[apps.DaemonSet](w.v, object.Key{Namespace: "shop", Name: "agent"})
		return s.Status.NumberAvailable == 1 && s.Status.DesiredNumberScheduled == 1
	})
	w.until("Job", func() bool {
		j, _ := client.Lookup[batch.Job](w.v, object.Key{Namespace: "shop", Name: "work"})
		return j.Status.Succeeded == 5 && j.Status.CompletionTime != nil && j.Status.CompletedIndexes == "0-4"
	})
	w.until("ReplicationController", func() bool {
		s, _ := client.Lookup[core.ReplicationController](w.v, object.Key{Namespace: "shop", Name: "rc"})
		return s.Status.AvailableReplicas == 2
	})
}

func TestDeletePropagationOnTheRealAPI(t *testing.T) {
	w := newWorld(t)
	create(w, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for _, p := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		name := strings.ToLower(string(p))
		key := object.Key{Namespace: "shop", Name: name}
		create(w, newDeployment("shop", name, 2, map[string]string{"app": name}))
		w.until("Deployment", func() bool { return w.complete(key, 2) })
		if err := w.c.Delete(t.Context(), client.TargetOf[apps.Deployment](key), metav1.DeleteOptions{PropagationPolicy: &p}); err != nil {
			t.Fatal(err)
		}
		w.until("Deployment gone", func() bool { _, ok := client.Lookup[apps.Deployment](w.v, key); return !ok })
		left := func() (sets, pods int) {
			for _, rs := range client.ListOf[apps.ReplicaSet](w.v, client.Select{Namespace: "shop"}) {
				if rs.Labels["app"] == name {
					sets++
				}
			}
			for _, p := range client.ListOf[core.Pod](w.v, client.Select{Namespace: "shop"}) {
				if p.Labels["app"] == name {
					pods++
				}
			}
			return sets, pods
		}
		if p == metav1.DeletePropagationOrphan {
			if sets, pods := left(); sets != 1 || pods != 2 {
				t.Errorf("%s: %d ReplicaSets and %d pods are left, want 1 and 2", p, sets, pods)
			}
			continue
		}
		w.until(fmt.Sprintf("%s: dependents gone", p), func() bool { sets, pods := left(); return sets+pods == 0 })
	}
}

// TestDeployment500 is from the create of a Deployment to the last of its 500 pods, and back.
func TestDeployment500(t *testing.T) {
	w := newWorld(t)
	create(w, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	w.until("default account", func() bool {
		_, ok := client.Lookup[core.ServiceAccount](w.v, object.Key{Namespace: "shop", Name: "default"})
		return ok
	})
	labels := map[string]string{"app": "big", "idle": "yes"}
	key := object.Key{Namespace: "shop", Name: "big"}
	create(w, newDeployment("shop", "big", 500, labels))
	pods := func() int { return len(client.ListOf[core.Pod](w.v, client.Select{Namespace: "shop"})) }
	up := w.until("500 pods", func() bool { return pods() == 500 })
	w.until("status", func() bool { d, _ := client.Lookup[apps.Deployment](w.v, key); return d.Status.Replicas == 500 })
	if err := client.Delete[apps.Deployment](t.Context(), w.c, key, ""); err != nil {
		t.Fatal(err)
	}
	down := w.until("no pods", func() bool { return pods() == 0 })
	t.Logf("500 pods created in %v, deleted in %v", up, down)
}

// TestWritesOfOneRollout counts what one Deployment of one replica costs the API, from create to complete, without events.
func TestWritesOfOneRollout(t *testing.T) {
	w := newWorld(t)
	create(w, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	w.until("default account", func() bool {
		_, ok := client.Lookup[core.ServiceAccount](w.v, object.Key{Namespace: "shop", Name: "default"})
		return ok
	})
	var mu sync.Mutex // guards writes
	writes := map[string]int{}
	for _, r := range w.v.Resources() {
		switch r.Kind {
		case "Event", "APIService", "FlowSchema": // the last two are what the server itself writes as it starts
			continue
		}
		synced := make(chan struct{})
		controltest.Run(t, func(ctx context.Context) error {
			live := false
			return w.v.Watch(ctx, r.GroupVersionResource, func(e client.Event) {
				if e.Type == client.Synced {
					live = true
					close(synced)
					return
				}
				if live {
					mu.Lock()
					defer mu.Unlock()
					writes[strings.ToLower(string(e.Type))+" "+r.GroupVersionResource.Resource]++
				}
			})
		})
		<-synced
	}
	key := object.Key{Namespace: "shop", Name: "web"}
	create(w, newDeployment("shop", "web", 1, map[string]string{"app": "web"}))
	took := w.until("Deployment", func() bool { return w.complete(key, 1) })
	time.Sleep(3 * control.StatusDelay) // whatever is held back
	mu.Lock()
	defer mu.Unlock()
	statuses := 1
	if took > control.StatusDelay { // on a busy machine: what is on its way is told too
		statuses += 2
	}
	want := map[string]int{
		"added deployments": 1, "added replicasets": 1, "added pods": 1,
		"modified pods":        2, // binding, Running
		"modified replicasets": statuses, "modified deployments": statuses,
	}
	for what, n := range writes {
		if n > want[what] {
			t.Errorf("%s: %d times, want %d", what, n, want[what])
		}
	}
	t.Logf("complete after %v, writes: %v", took, writes)
}
