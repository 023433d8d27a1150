package core

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// resourcesOf reads "100m 64Mi" as so much cpu and memory. "" and "-" stand for none.
func resourcesOf(s string) core.ResourceList {
	if s == "" {
		return nil
	}
	l := core.ResourceList{}
	for i, v := range strings.Fields(s) {
		if v != "-" {
			l[[]core.ResourceName{core.ResourceCPU, core.ResourceMemory}[i]] = resource.MustParse(v)
		}
	}
	return l
}

// podOf has one container for each of "requests/limits".
func podOf(containers ...string) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	for i, c := range containers {
		requests, limits, _ := strings.Cut(c, "/")
		p.Spec.Containers = append(p.Spec.Containers, core.Container{
			Name: string(rune('a' + i)), Image: "a:1",
			Resources: core.ResourceRequirements{Requests: resourcesOf(requests), Limits: resourcesOf(limits)},
		})
	}
	defaultPod(p)
	p.Status.QOSClass = QOS(p)
	return p
}

func TestQOS(t *testing.T) {
	for _, c := range []struct {
		pod  *core.Pod
		want core.PodQOSClass
	}{
		{podOf(""), core.PodQOSBestEffort},
		{podOf("0"), core.PodQOSBestEffort},
		{podOf("", "1"), core.PodQOSBurstable},
		{podOf("1 1Gi/1 1Gi"), core.PodQOSGuaranteed},
		{podOf("/1 1Gi"), core.PodQOSGuaranteed}, // requests follow limits
		{podOf("/1 1Gi", "1/1"), core.PodQOSBurstable},
		{podOf("/1"), core.PodQOSBurstable},
		{podOf("/- 1Gi"), core.PodQOSBurstable},
		{podOf("500m 1Gi/1 1Gi"), core.PodQOSBurstable},
		{podOf("/1 1Gi", ""), core.PodQOSBurstable},
		{podOf("500m 1Gi/1000m 1Gi", "1500m 1Gi/1 1Gi"), core.PodQOSGuaranteed}, // sums are compared, as ever
	} {
		if got := QOS(c.pod); got != c.want {
			t.Errorf("%v is %s, want %s", c.pod.Spec.Containers, got, c.want)
		}
	}
	p := podOf("1")
	p.Spec.Resources = &core.ResourceRequirements{Requests: resourcesOf("1 1Gi"), Limits: resourcesOf("1 1Gi")}
	if got := QOS(p); got != core.PodQOSGuaranteed {
		t.Errorf("pod-level resources give %s", got)
	}
}

func TestGrace(t *testing.T) {
	for _, c := range []struct {
		node  string
		phase core.PodPhase
		spec  int64
		asked *int64
		want  int64
	}{
		{"n1", core.PodRunning, 30, nil, 30},
		{"n1", core.PodRunning, 30, ptr.To[int64](5), 5},
		{"n1", core.PodRunning, 30, ptr.To[int64](0), 0},
		{"n1", core.PodRunning, 30, ptr.To[int64](-1), 1},
		{"n1", core.PodRunning, -5, nil, 1},
		{"", core.PodPending, 30, nil, 0},
		{"", core.PodPending, 30, ptr.To[int64](5), 0},
		{"n1", core.PodFailed, 30, nil, 0},
		{"n1", core.PodSucceeded, 30, ptr.To[int64](5), 0},
	} {
		p := podOf("")
		p.Spec.NodeName, p.Status.Phase, p.Spec.TerminationGracePeriodSeconds = c.node, c.phase, &c.spec
		if got := podGrace(p, &metav1.DeleteOptions{GracePeriodSeconds: c.asked}); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if got := podGrace(podOf(""), nil); got != 0 {
		t.Errorf("without options: %d", got)
	}
}

func TestResize(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, now *core.Pod
		change   func(p, old *core.Pod)
		want     string // "": allowed
	}{
		{name: "more", old: podOf("1 1Gi/2 2Gi"), now: podOf("1500m 1Gi/2 3Gi")},
		{name: "first", old: podOf("1"), now: podOf("1 1Gi")},
		{name: "guaranteed", old: podOf("/1 1Gi"), now: podOf("/2 1Gi")},
		{name: "class", old: podOf("/1 1Gi"), now: podOf("500m/1 1Gi"), want: "QOS Class may not change"},
		{name: "less", old: podOf("1 1Gi"), now: podOf("1"), want: "resource requests cannot be removed"},
		{name: "unlimited", old: podOf("1/2 2Gi"), now: podOf("1/2"), want: "resource limits cannot be removed"},
		{name: "renamed", old: podOf("1", "1"), now: podOf("1", "1"),
			change: func(p, _ *core.Pod) { p.Spec.Containers[1].Name = "x" }, want: "may not be renamed or reordered"},
		{name: "added", old: podOf("1"), now: podOf("1", "1"), want: "may not be added or removed"},
		{name: "disk", old: podOf("1"), now: podOf("1"), change: func(p, _ *core.Pod) {
			p.Spec.Containers[0].Resources.Requests[core.ResourceEphemeralStorage] = resource.MustParse("1Gi")
		}, want: "only cpu and memory resources are mutable"},
		{name: "image", old: podOf("1"), now: podOf("1"),
			change: func(p, _ *core.Pod) { p.Spec.Containers[0].Image = "b:1" }, want: "only cpu and memory"},
		{name: "node", old: podOf("1"), now: podOf("1"),
			change: func(p, _ *core.Pod) { p.Spec.NodeName = "n2" }, want: "only cpu and memory"},
		{name: "static", old: podOf("1"), now: podOf("2"), change: func(_, old *core.Pod) {
			old.Annotations = map[string]string{core.MirrorPodAnnotationKey: "x"}
		}, want: "static pods cannot be resized"},
		{name: "pod level", old: podOf("1"), now: podOf("1"), change: func(p, old *core.Pod) {
			old.Spec.Resources = &core.ResourceRequirements{Requests: resourcesOf("2 2Gi")}
			p.Spec.Resources = &core.ResourceRequirements{Requests: resourcesOf("3 2Gi")}
		}},
		{name: "pod level removed", old: podOf("1"), now: podOf("1"), change: func(_, old *core.Pod) {
			old.Spec.Resources = &core.ResourceRequirements{Requests: resourcesOf("2 2Gi")}
		}, want: "pod-level resources cannot be removed"},
		{name: "unable node", old: podOf("1"), now: podOf("2"), change: func(_, old *core.Pod) {
			old.Status.ContainerStatuses = []core.ContainerStatus{{Name: "a", State: core.ContainerState{Running: &core.ContainerStateRunning{}}}}
		}, want: "without support for resize"},
		{name: "able node", old: podOf("1"), now: podOf("2"), change: func(_, old *core.Pod) {
			old.Status.ContainerStatuses = []core.ContainerStatus{{
				Name: "a", State: core.ContainerState{Running: &core.ContainerStateRunning{}}, Resources: &core.ResourceRequirements{},
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.now, c.old)
			}
			c.now.Status = c.old.Status
			got := validateResize(c.now, c.old).ToAggregate()
			switch {
			case c.want == "" && got != nil:
				t.Errorf("refused: %v", got)
			case c.want != "" && (got == nil || !strings.Contains(got.Error(), c.want)):
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

// FuzzSubscript checks that what splits can be put together again.
func FuzzSubscript(f *testing.F) {
	for _, s := range []string{"metadata.labels['a']", "metadata.labels['']", "['a']", "x['a'", "x['a']['b']", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if path, key, ok := splitSubscript(s); ok && path+"['"+key+"']" != s {
			t.Errorf("%q: %q and %q", s, path, key)
		}
	})
}

// A claim that the server has made for extended resources names containers that ask for them.
func TestExtendedStatus(t *testing.T) {
	old := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Resources: core.ResourceRequirements{
		Requests: core.ResourceList{"example.com/gpu": resource.MustParse("1")}}}}}}
	mapped := func(container, res, request string) core.ContainerExtendedResourceRequest {
		return core.ContainerExtendedResourceRequest{ContainerName: container, ResourceName: res, RequestName: request}
	}
	for _, c := range []struct {
		claim string
		list  []core.ContainerExtendedResourceRequest
		want  string
	}{
		{"x", []core.ContainerExtendedResourceRequest{mapped("c", "example.com/gpu", "r")}, ""},
		{"", nil, "status.extendedResourceClaimStatus.requestMappings status.extendedResourceClaimStatus.resourceClaimName "},
		{"Bad_", []core.ContainerExtendedResourceRequest{mapped("d", "example.com/gpu", "r")},
			"status.extendedResourceClaimStatus.requestMappings[0].containerName status.extendedResourceClaimStatus.resourceClaimName "},
		{"x", []core.ContainerExtendedResourceRequest{mapped("c", "example.com/tpu", "None")},
			"status.extendedResourceClaimStatus.requestMappings[0].resourceName status.extendedResourceClaimStatus.requestName "},
	} {
		p := old.DeepCopy()
		p.Status.ExtendedResourceClaimStatus = &core.PodExtendedResourceClaimStatus{ResourceClaimName: c.claim, RequestMappings: c.list}
		got := ""
		for _, err := range validatePodStatus(p, old) {
			got += err.Field + " "
		}
		if got != c.want {
			t.Errorf("%+v: got %s, want %s", c, got, c.want)
		}
	}
}
