package check

import (
	"encoding/json"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlain(t *testing.T) {
	yes := true
	for _, tc := range []struct {
		v    any
		want string
	}{
		{"text", `"text"`},
		{nil, `null`},
		{metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		{&core.SeccompProfile{Type: "Localhost"}, `{"Type":"Localhost","LocalhostProfile":null}`},
		{[]core.Sysctl{{Name: "a", Value: "<b>"}}, `[{"Name":"a","Value":"\u003cb\u003e"}]`},
		{core.ResourceRequirements{Limits: core.ResourceList{"cpu": resource.MustParse("1000m")}}, `{"Limits":{"cpu":"1"},"Requests":null,"Claims":null}`},
		{core.ConfigMapEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "c"}, Optional: &yes}, `{"Name":"c","Optional":true}`},
	} {
		got, err := json.Marshal(Plain(tc.v))
		if err != nil || string(got) != tc.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, tc.want)
		}
	}
}

// What a pod shares with its host stands in the security context there.
func TestPlainPodSpec(t *testing.T) {
	got, err := json.Marshal(Plain(core.PodSpec{HostNetwork: true, DeprecatedServiceAccount: "old", Volumes: []core.Volume{{Name: "v"}}}))
	if err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, want := range []string{`{"Volumes":[{"Name":"v","HostPath":null,`, `"RBD":null,"Quobyte":null,"FlexVolume":null,`, `"ServiceAccountName":"","AutomountServiceAccountToken":null,"NodeName":"",`,
		`"SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,`,
		`"FSGroup":null,"FSGroupChangePolicy":null,"Sysctls":null,`, `"Subdomain":"","SetHostnameAsFQDN":null,"Affinity":null,`, `"Priority":null,"PreemptionPolicy":null,"DNSConfig":null,`,
		`"RuntimeClassName":null,"Overhead":null,"EnableServiceLinks":null,`, `"OS":null,"SchedulingGates":null,`} {
		i := strings.Index(string(got), want)
		if i <= at {
			t.Errorf("%s is missing or out of order in %s", want, got)
		}
		at = i
	}
}
