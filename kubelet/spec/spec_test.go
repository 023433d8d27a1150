package spec

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// objects are Sources made of maps.
type objects struct {
	configMaps map[string]*core.ConfigMap
	secrets    map[string]*core.Secret
	services   []*core.Service
}

func (o *objects) ConfigMap(_, name string) (*core.ConfigMap, error) {
	if cm := o.configMaps[name]; cm != nil {
		return cm, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
}

func (o *objects) Secret(_, name string) (*core.Secret, error) {
	if s := o.secrets[name]; s != nil {
		return s, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func (o *objects) File(*core.Pod, string, string) ([]byte, error) { return nil, fs.ErrNotExist }

func (o *objects) Services(ns string) (out []*core.Service) {
	for _, s := range o.services {
		if s.Namespace == ns {
			out = append(out, s)
		}
	}
	return out
}

func TestExpand(t *testing.T) {
	lookup := Lookup([]Var{{"A", "a"}, {"E", ""}, {"N", "$(A)"}})
	for in, want := range map[string]string{
		"plain": "plain", "$(A)": "a", "x$(A)y$(A)": "xaya", "$$(A)": "$(A)", "$$$(A)": "$a", "$(none)": "$(none)", "$(A": "$(A", "$A": "$A",
		"$": "$", "$$": "$", "a$": "a$", "$(E)": "", "$(N)": "$(A)", "$()": "$()", "$(A)$$$(E)b": "a$b",
	} {
		if got := Expand(in, lookup); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(B)$(")
	f.Fuzz(func(t *testing.T, s string) {
		got := Expand(s, func(string) (string, bool) { return "", false })
		if !strings.Contains(s, "$$") && got != s { // nothing is known, so nothing changes
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestEnv(t *testing.T) {
	yes := true
	src := &objects{
		configMaps: map[string]*core.ConfigMap{"cm": {Data: map[string]string{"k": "v", "l": "w"}}},
		secrets:    map[string]*core.Secret{"s": {Data: map[string][]byte{"pw": []byte("hush")}}},
		services: []*core.Service{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: core.ServiceSpec{ClusterIP: "10.43.0.1", Ports: []core.ServicePort{{Name: "https", Port: 443, Protocol: "TCP"}}}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "my-store"}, Spec: core.ServiceSpec{ClusterIP: "fd00::7", Ports: []core.ServicePort{{Name: "db", Port: 6379, Protocol: "TCP"}, {Name: "x-y", Port: 53, Protocol: "UDP"}}}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "headless"}, Spec: core.ServiceSpec{ClusterIP: "None", Ports: []core.ServicePort{{Port: 1}}}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "far"}, Spec: core.ServiceSpec{ClusterIP: "10.43.0.9", Ports: []core.ServicePort{{Port: 1}}}},
		},
	}
	n := &Node{Name: "n1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, Allocatable: core.ResourceList{core.ResourceCPU: resource.MustParse("2"), core.ResourceMemory: resource.MustParse("1Gi")}}
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u", Labels: map[string]string{"app": "web", "b": `q"`}, Annotations: map[string]string{"x/y": "z"}}}
	pod.Spec.NodeName, pod.Spec.ServiceAccountName = "n1", "sa"
	field := func(path string) *core.EnvVarSource {
		return &core.EnvVarSource{FieldRef: &core.ObjectFieldSelector{FieldPath: path}}
	}
	res := func(name, div string) *core.EnvVarSource {
		return &core.EnvVarSource{ResourceFieldRef: &core.ResourceFieldSelector{Resource: name, Divisor: resource.MustParse(div)}}
	}
	c := &core.Container{
		Name:      "c",
		Resources: core.ResourceRequirements{Requests: core.ResourceList{core.ResourceCPU: resource.MustParse("250m")}},
		EnvFrom: []core.EnvFromSource{
			{Prefix: "P_", ConfigMapRef: &core.ConfigMapEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "cm"}}},
			{SecretRef: &core.SecretEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "s"}}},
			{SecretRef: &core.SecretEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "none"}, Optional: &yes}},
		},
		Env: []core.EnvVar{
			{Name: "A", Value: "$(pw)-$(LATER)-$(MY_STORE_SERVICE_PORT)"}, {Name: "LATER", Value: "x"}, {Name: "P_k", Value: "over"}, {Name: "EMPTY"},
			{Name: "NAME", ValueFrom: field("metadata.name")}, {Name: "LABEL", ValueFrom: field("metadata.labels['app']")},
			{Name: "ANN", ValueFrom: field("metadata.annotations['x/y']")}, {Name: "LABELS", ValueFrom: field("metadata.labels")},
			{Name: "IPS", ValueFrom: field("status.podIPs")}, {Name: "HOSTS", ValueFrom: field("status.hostIPs")},
			{Name: "CPU", ValueFrom: res("limits.cpu", "1")}, {Name: "REQ", ValueFrom: res("requests.cpu", "1m")}, {Name: "MEM", ValueFrom: res("limits.memory", "1Mi")},
			{Name: "OPT", ValueFrom: &core.EnvVarSource{ConfigMapKeyRef: &core.ConfigMapKeySelector{LocalObjectReference: core.LocalObjectReference{Name: "cm"}, Key: "none", Optional: &yes}}},
		},
	}
	vars, err := Env(n, src, pod, c, []netip.Addr{netip.MustParseAddr("10.42.0.5"), netip.MustParseAddr("fd00:42::5")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range vars {
		got = append(got, v.Name+"="+v.Value)
	}
	want := strings.Split(`KUBERNETES_SERVICE_HOST=10.43.0.1
KUBERNETES_SERVICE_PORT=443
KUBERNETES_SERVICE_PORT_HTTPS=443
KUBERNETES_PORT=tcp://10.43.0.1:443
KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443
KUBERNETES_PORT_443_TCP_PROTO=tcp
KUBERNETES_PORT_443_TCP_PORT=443
KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1
MY_STORE_SERVICE_HOST=fd00::7
MY_STORE_SERVICE_PORT=6379
MY_STORE_SERVICE_PORT_DB=6379
MY_STORE_SERVICE_PORT_X_Y=53
MY_STORE_PORT=tcp://[fd00::7]:6379
MY_STORE_PORT_6379_TCP=tcp://[fd00::7]:6379
MY_STORE_PORT_6379_TCP_PROTO=tcp
MY_STORE_PORT_6379_TCP_PORT=6379
MY_STORE_PORT_6379_TCP_ADDR=fd00::7
MY_STORE_PORT_53_UDP=udp://[fd00::7]:53
MY_STORE_PORT_53_UDP_PROTO=udp
MY_STORE_PORT_53_UDP_PORT=53
MY_STORE_PORT_53_UDP_ADDR=fd00::7
P_k=over
P_l=w
pw=hush
A=hush-$(LATER)-6379
LATER=x
EMPTY=
NAME=p
LABEL=web
ANN=z
LABELS=app="web"|b="q\""
IPS=10.42.0.5,fd00:42::5
HOSTS=192.0.2.1,2001:db8::1
CPU=2
REQ=250
MEM=1024`, "\n")
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "|", "\n")
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	for _, bad := range []core.EnvVar{
		{Name: "X", ValueFrom: &core.EnvVarSource{ConfigMapKeyRef: &core.ConfigMapKeySelector{LocalObjectReference: core.LocalObjectReference{Name: "cm"}, Key: "none"}}},
		{Name: "X", ValueFrom: &core.EnvVarSource{SecretKeyRef: &core.SecretKeySelector{LocalObjectReference: core.LocalObjectReference{Name: "none"}, Key: "k"}}},
	} {
		_, err := Env(n, src, pod, &core.Container{Env: []core.EnvVar{bad}}, nil)
		if err == nil || err.Error() != "couldn't find key none in ConfigMap ns/cm" && err.Error() != `secrets "none" not found` {
			t.Errorf("%v", err)
		}
	}
	no := false
	pod.Spec.EnableServiceLinks = &no
	if vars, err := Env(n, src, pod, &core.Container{}, nil); err != nil || len(vars) != 8 {
		t.Errorf("without links: %v, %v", vars, err)
	}
}

func TestDNS(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("# a comment\nnameserver 192.0.2.53\nsearch example.com. corp\noptions rotate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := &Node{ClusterDNS: []string{"10.43.0.10"}, ClusterDomain: "cluster.local", ResolvConf: conf}
	five, two := "5", "2"
	for _, c := range []struct {
		name                       string
		spec                       core.PodSpec
		servers, searches, options string
	}{
		{"cluster first", core.PodSpec{DNSPolicy: core.DNSClusterFirst}, "10.43.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local example.com corp", "ndots:5"},
		{"host network", core.PodSpec{DNSPolicy: core.DNSClusterFirst, HostNetwork: true}, "192.0.2.53", "example.com corp", "rotate"},
		{"cluster first with host network", core.PodSpec{DNSPolicy: core.DNSClusterFirstWithHostNet, HostNetwork: true}, "10.43.0.10", "ns.svc.cluster.local svc.cluster.local cluster.local example.com corp", "ndots:5"},
		{"default", core.PodSpec{DNSPolicy: core.DNSDefault}, "192.0.2.53", "example.com corp", "rotate"},
		{"none", core.PodSpec{DNSPolicy: core.DNSNone, DNSConfig: &core.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"a"}, Options: []core.PodDNSConfigOption{{Name: "ndots", Value: &five}}}}, "1.1.1.1", "a", "ndots:5"},
		{"merged", core.PodSpec{DNSPolicy: core.DNSClusterFirst, DNSConfig: &core.PodDNSConfig{Nameservers: []string{"10.43.0.10", "1.1.1.1"}, Searches: []string{"corp", "new"}, Options: []core.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}}, "10.43.0.10 1.1.1.1", "ns.svc.cluster.local svc.cluster.local cluster.local example.com corp new", "ndots:2 edns0"},
	} {
		d, err := DNS(n, &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}, Spec: c.spec})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(d.Servers, d.Searches, d.Options), fmt.Sprintf("[%s] [%s] [%s]", c.servers, c.searches, c.options); got != want {
			t.Errorf("%s: %s, want %s", c.name, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	n := &Node{ClusterDomain: "cluster.local", HostsFile: filepath.Join(t.TempDir(), "none")}
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-0"}, Spec: core.PodSpec{
		Subdomain: "web", HostAliases: []core.HostAlias{{IP: "123.45.67.89", Hostnames: []string{"foo", "bar"}}},
	}}
	got, err := Hosts(n, pod, []netip.Addr{netip.MustParseAddr("10.42.0.5")})
	want := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n" +
		"10.42.0.5\tweb-0.web.ns.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n"
	if d := cmp.Diff(want, string(got)); err != nil || d != "" {
		t.Error(err, d)
	}
	pod.Spec.HostNetwork = true
	if got, err := Hosts(n, pod, nil); err != nil || !strings.HasPrefix(string(got), "# Kubernetes-managed hosts file (host network).\n") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestResources(t *testing.T) {
	n := &Node{Memory: 16 << 30, CgroupParent: "/proa"}
	list := func(cpu, mem string) core.ResourceList {
		l := core.ResourceList{}
		if cpu != "" {
			l[core.ResourceCPU] = resource.MustParse(cpu)
		}
		if mem != "" {
			l[core.ResourceMemory] = resource.MustParse(mem)
		}
		return l
	}
	for _, c := range []struct {
		name             string
		requests, limits core.ResourceList
		want             string
		cgroup           string
	}{
		{"nothing", nil, nil, "shares 2 quota 0/100000 memory 0 oom 1000", "/proa/kubepods/besteffort/podu"},
		{"tiny", list("1m", ""), list("1m", ""), "shares 2 quota 1000/100000 memory 0 oom 999", "/proa/kubepods/burstable/podu"},
		{"burstable", list("500m", "4Gi"), list("2", "8Gi"), "shares 512 quota 200000/100000 memory 8589934592 oom 750", "/proa/kubepods/burstable/podu"},
		{"limits only", nil, list("1", "1Gi"), "shares 1024 quota 100000/100000 memory 1073741824 oom -997", "/proa/kubepods/podu"},
		{"guaranteed", list("1", "1Gi"), list("1", "1Gi"), "shares 1024 quota 100000/100000 memory 1073741824 oom -997", "/proa/kubepods/podu"},
	} {
		pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: core.PodSpec{Containers: []core.Container{{
			Name: "c", Resources: core.ResourceRequirements{Requests: c.requests, Limits: c.limits},
		}}}}
		r := Resources(n, pod, &pod.Spec.Containers[0])
		got := fmt.Sprintf("shares %d quota %d/%d memory %d oom %d", r.CpuShares, r.CpuQuota, r.CpuPeriod, r.MemoryLimitInBytes, r.OomScoreAdj)
		if got != c.want || n.Cgroup(pod) != c.cgroup {
			t.Errorf("%s: %s in %s, want %s in %s", c.name, got, n.Cgroup(pod), c.want, c.cgroup)
		}
	}
}

func TestLimitsOfTheNode(t *testing.T) {
	two := core.ResourceList{core.ResourceCPU: resource.MustParse("2"), core.ResourceMemory: resource.MustParse("1Gi")}
	pod := &core.Pod{Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Resources: core.ResourceRequirements{Requests: two, Limits: two}}}}}
	n := &Node{Limits: Limits{Pids: 100, NoCFSQuota: true}}
	r, whole := Resources(n, pod, &pod.Spec.Containers[0]), PodResources(n, pod)
	if r.CpuQuota != 0 || whole.CpuQuota != 0 || whole.Unified["pids.max"] != "100" {
		t.Errorf("container %v, pod %v", r, whole)
	}
	n.Limits = Limits{}
	r, whole = Resources(n, pod, &pod.Spec.Containers[0]), PodResources(n, pod)
	if r.CpuQuota != 200_000 || len(r.Unified) != 0 || whole.CpuQuota != 200_000 || len(whole.Unified) != 0 {
		t.Errorf("without limits: container %v, pod %v", r, whole)
	}
}

func TestNonRoot(t *testing.T) {
	yes, zero, one := true, int64(0), int64(1000)
	for _, c := range []struct {
		user  *int64
		image Image
		want  string
	}{
		{nil, Image{UID: &one}, ""},
		{nil, Image{UID: &zero}, "image will run as root"},
		{nil, Image{}, "image will run as root"},
		{nil, Image{User: "www"}, "non-numeric user (www)"},
		{&zero, Image{UID: &one}, "runAsUser breaks non-root policy"},
		{&one, Image{}, ""},
	} {
		pod := &core.Pod{Spec: core.PodSpec{SecurityContext: &core.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: c.user}}}
		_, err := Security(&Node{}, pod, &core.Container{Name: "c"}, c.image)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("user %v, image %+v: %v, want %q", c.user, c.image, err, c.want)
		}
	}
}

func TestSecurity(t *testing.T) {
	no, yes, uid, gid := false, true, int64(1000), int64(2000)
	pod := &core.Pod{Spec: core.PodSpec{
		ShareProcessNamespace: &yes,
		SecurityContext:       &core.PodSecurityContext{RunAsUser: &uid, FSGroup: &gid, SupplementalGroups: []int64{7}},
	}}
	c := &core.Container{SecurityContext: &core.SecurityContext{
		AllowPrivilegeEscalation: &no, RunAsGroup: &gid,
		Capabilities: &core.Capabilities{Drop: []core.Capability{"ALL"}, Add: []core.Capability{"NET_BIND_SERVICE"}},
	}}
	sc, err := Security(&Node{}, pod, c, Image{})
	if err != nil {
		t.Fatal(err)
	}
	if !sc.NoNewPrivs || sc.RunAsUser.Value != 1000 || sc.RunAsGroup.Value != 2000 || fmt.Sprint(sc.SupplementalGroups) != "[2000 7]" ||
		sc.NamespaceOptions.Pid != runtimeapi.NamespaceMode_POD || sc.Seccomp.ProfileType != runtimeapi.SecurityProfile_RuntimeDefault ||
		len(sc.MaskedPaths) == 0 || fmt.Sprint(sc.Capabilities.DropCapabilities, sc.Capabilities.AddCapabilities) != "[ALL] [NET_BIND_SERVICE]" {
		t.Errorf("%v", sc)
	}
	c.SecurityContext = &core.SecurityContext{Privileged: &yes}
	if sc, err = Security(&Node{}, pod, c, Image{}); err != nil || sc.Seccomp.ProfileType != runtimeapi.SecurityProfile_Unconfined || !sc.Privileged {
		t.Errorf("privileged: %v, %v", sc, err)
	}
}

func TestLimitsFromWholePod(t *testing.T) {
	n := &Node{Allocatable: core.ResourceList{core.ResourceCPU: resource.MustParse("8"), core.ResourceMemory: resource.MustParse("1Gi")}}
	list := func(cpu, memory string) core.ResourceList {
		out := core.ResourceList{}
		for name, text := range map[core.ResourceName]string{core.ResourceCPU: cpu, core.ResourceMemory: memory} {
			if text != "" {
				out[name] = resource.MustParse(text)
			}
		}
		return out
	}
	for _, c := range []struct {
		own, whole  core.ResourceList
		cpu, memory string
	}{
		{nil, nil, "8", "1073741824"},
		{nil, list("1250m", "64Mi"), "2", "67108864"},
		{nil, list("1250m", ""), "2", "1073741824"},
		{list("3", "1Mi"), list("4", "64Mi"), "3", "1048576"},
		{list("0", "1Mi"), list("4", "64Mi"), "4", "1048576"},
	} {
		pod := &core.Pod{}
		if c.whole != nil {
			pod.Spec.Resources = &core.ResourceRequirements{Limits: c.whole}
		}
		container := &core.Container{Name: "c", Resources: core.ResourceRequirements{Limits: c.own}}
		for field, want := range map[string]string{"limits.cpu": c.cpu, "limits.memory": c.memory} {
			got, err := ResourceField(n, pod, container, &core.ResourceFieldSelector{Resource: field})
			if got != want || err != nil {
				t.Errorf("own %v, pod's %v: %s is %q, %v; want %s", c.own, c.whole, field, got, err, want)
			}
		}
	}
}
