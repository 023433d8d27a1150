package owners_test

import (
	"fmt"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/owners"
	"proa.dev/object"
)

// somePod is a pod as a ReplicaSet makes it, with defaults.
func somePod() *core.Pod {
	return &core.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", Labels: map[string]string{"app": "x", "pod-template-hash": "123"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "x", UID: "123"}}},
		Spec: core.PodSpec{
			Containers: []core.Container{{Name: "c", Image: "x", Ports: []core.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}},
				Env:                    []core.EnvVar{{Name: "A", Value: "b"}, {Name: "B", Value: "c"}},
				Resources:              core.ResourceRequirements{Requests: core.ResourceList{"cpu": resource.MustParse("1")}},
				TerminationMessagePath: "/dev/x", TerminationMessagePolicy: "File", ImagePullPolicy: "Always"}},
			RestartPolicy: "Always", DNSPolicy: "ClusterFirst", SchedulerName: "default-scheduler", SecurityContext: &core.PodSecurityContext{},
			TerminationGracePeriodSeconds: new(int64(30)), ServiceAccountName: "default",
			Tolerations: []core.Toleration{{Key: "a", Operator: "Exists"}, {Key: "b", Operator: "Exists"}},
		},
	}
}

func someConfigMap() *core.ConfigMap {
	return &core.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{"a": "b", "c": "d"}}
}

func track(b *testing.B, t *owners.Tracker, old, now object.Object, sub, manager string) {
	fields, err := t.Update(owners.Write{Old: old, New: now, APIVersion: "v1", Manager: manager, Subresource: sub, Now: time.Now()})
	if err != nil || len(fields) == 0 {
		b.Fatal(len(fields), err)
	}
	now.SetManagedFields(fields)
}

func BenchmarkTrackCreatePod(b *testing.B) {
	t, p := owners.New(owners.NewShares()), somePod()
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		track(b, t, nil, p, "", "kube-controller-manager")
	}
}

func BenchmarkTrackUpdatePod(b *testing.B) {
	t, p := owners.New(owners.NewShares()), somePod()
	track(b, t, nil, p, "", "kube-controller-manager")
	p.UID = "u"
	n := p.DeepCopy()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		n.ManagedFields = p.ManagedFields
		n.Status.PodIP = fmt.Sprint(i)
		n.Status.PodIPs = []core.PodIP{{IP: n.Status.PodIP}}
		n.Status.Conditions = []core.PodCondition{{Type: "Ready", Status: "True"}}
		track(b, t, p, n, "status", "kubelet")
	}
}

func BenchmarkTrackCreateConfigMap(b *testing.B) {
	t, m := owners.New(owners.NewShares()), someConfigMap()
	b.ReportAllocs()
	for b.Loop() {
		m.ManagedFields = nil
		track(b, t, nil, m, "", "kubectl")
	}
}

func BenchmarkTrackUpdateConfigMap(b *testing.B) {
	t, m := owners.New(owners.NewShares()), someConfigMap()
	track(b, t, nil, m, "", "kubectl")
	m.UID = "u"
	n := m.DeepCopy()
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		n.ManagedFields = m.ManagedFields
		n.Data["a"] = fmt.Sprint(i)
		track(b, t, m, n, "", "kubectl")
	}
}
