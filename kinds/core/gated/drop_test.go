package gated

import (
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
)

// full is a spec that uses everything that is switched off.
func full() *core.PodSpec {
	n, term := ptr.To[int64](5), core.SIGTERM
	mode, h2 := core.GRPCProbeMode("TLS"), core.HTTPProtocol("H2C")
	return &core.PodSpec{
		SchedulingGroup:    &core.PodSchedulingGroup{},
		EvictionResponders: make([]core.EvictionResponder, 1),
		Volumes: []core.Volume{
			{Name: "a", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{Mode: ptr.To[int32](7)}}},
			{Name: "b", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{DefaultUser: n, Items: []core.KeyToPath{{User: n}}}}},
			{Name: "c", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
				{ServiceAccountToken: &core.ServiceAccountTokenProjection{User: n}},
			}}}},
		},
		InitContainers: []core.Container{{Name: "i", Lifecycle: &core.Lifecycle{StopSignal: &term}}},
		Containers: []core.Container{{
			Name: "c", VolumeMounts: []core.VolumeMount{{BindMountOptions: []string{"x"}}},
			Lifecycle:      &core.Lifecycle{StopSignal: &term, PreStop: &core.LifecycleHandler{HTTPGet: &core.HTTPGetAction{Protocol: &h2}}},
			ReadinessProbe: &core.Probe{ProbeHandler: core.ProbeHandler{GRPC: &core.GRPCAction{Mode: &mode}}},
			LivenessProbe:  &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{Protocol: &h2}}},
		}},
	}
}

func TestDrop(t *testing.T) {
	want := &core.PodSpec{
		Volumes: []core.Volume{
			{Name: "a", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}},
			{Name: "b", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{Items: []core.KeyToPath{{}}}}},
			{Name: "c", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
				{ServiceAccountToken: &core.ServiceAccountTokenProjection{}},
			}}}},
		},
		InitContainers: []core.Container{{Name: "i"}}, // nothing is left of its lifecycle
		Containers: []core.Container{{
			Name: "c", VolumeMounts: []core.VolumeMount{{}},
			Lifecycle:      &core.Lifecycle{PreStop: &core.LifecycleHandler{HTTPGet: &core.HTTPGetAction{}}},
			ReadinessProbe: &core.Probe{ProbeHandler: core.ProbeHandler{GRPC: &core.GRPCAction{}}},
			LivenessProbe:  &core.Probe{ProbeHandler: core.ProbeHandler{HTTPGet: &core.HTTPGetAction{}}},
		}},
	}
	got := full()
	Drop(got, nil)
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("a new pod keeps what is switched off: %+v", got)
	}
	got = full()
	if Drop(got, want); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("a pod that never had it gets what is switched off: %+v", got)
	}
	got = full()
	if Drop(got, full()); !equality.Semantic.DeepEqual(got, full()) {
		t.Errorf("a pod that has it loses it: %+v", got)
	}
}

func TestPrepare(t *testing.T) {
	spec := func(p *core.Pod) *core.PodSpec { return &p.Spec }
	p := &core.Pod{Spec: *full()}
	Prepare(spec)(p, nil)
	if stopSignal(&p.Spec, false) {
		t.Error("a new object keeps what is switched off")
	}
	p = &core.Pod{Spec: *full()}
	Prepare(spec)(p, &core.Pod{Spec: *full()})
	if !stopSignal(&p.Spec, false) {
		t.Error("an object loses what it had")
	}
}

func TestDropStatus(t *testing.T) {
	full := func() *core.PodStatus {
		return &core.PodStatus{
			NodeAllocatableResourceClaimStatuses: make([]core.NodeAllocatableResourceClaimStatus, 1),
			VolumeHealth:                         make([]core.PodVolumeHealth, 1),
			ContainerStatuses: []core.ContainerStatus{{
				VolumeMounts: []core.VolumeMountStatus{{Name: "v", VolumeStatus: &core.VolumeStatus{}}},
			}},
		}
	}
	want := &core.PodStatus{ContainerStatuses: []core.ContainerStatus{{VolumeMounts: []core.VolumeMountStatus{{Name: "v"}}}}}
	got := full()
	if DropStatus(got, &core.PodStatus{}); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("a status gets what is switched off: %+v", got)
	}
	got = full()
	if DropStatus(got, full()); !equality.Semantic.DeepEqual(got, full()) {
		t.Errorf("a status loses what it had: %+v", got)
	}
}
