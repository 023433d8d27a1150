package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMistakesNameFileLineAndLikelyKey(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"nod: a\n", `f.yaml:1: unknown key "nod"; did you mean "node"?`},
		{"node: a\nnetwork:\n  service: [10.0.0.0/8]\n", `f.yaml:3: unknown key "service"; did you mean "services"?`},
		{"xyzzyplugh: 1\n", `f.yaml:1: unknown key "xyzzyplugh"`},
		{"node: [1]\n", "f.yaml:1: cannot unmarshal !!seq into string"},
		{"node: a\n---\nnode: b\n", "f.yaml: more than one document"},
		{"node: \"a\n", "f.yaml: line 2: found unexpected end of stream"},
		{"runtime:\n  registries:\n    a:\n      miror: []\n", `f.yaml:4: unknown key "miror"; did you mean "mirrors"?`},
	} {
		err := new(Config).Parse("f.yaml", []byte(tt.text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestZeroValueWorks(t *testing.T) {
	var c Config
	c.Complete()
	c.Node = "box" // the build machine's host name may be anything
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	if got := c.Network.DNS.String(); got != "10.43.0.10" {
		t.Errorf("DNS is %s", got)
	}
}

func TestCheckFindsEveryMistake(t *testing.T) {
	var c Config
	text := "node: A_B\ndataDir: here\ndisable: [dsn]\napi: {listen: here}\n" +
		"network: {pods: [10.43.1.0/16], services: [10.43.0.0/16], dns: 1.2.3.4, nodePorts: 9-1}\nlog: {level: loud}\nkubelet: {memorySwap: {swapBehavior: Sometimes}}\n"
	if err := c.Parse("f.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	c.Complete()
	err := c.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"node: ", "dataDir: ", "disable: ", "api.listen: ", "network.pods: 10.43.1.0/16 is not a range: did you mean 10.43.0.0/16",
		"network: pods", "network.dns: ", "network.nodePorts: ", "log.level: ",
		`kubelet.memorySwap.swapBehavior: "Sometimes" must be one of: "", "LimitedSwap" or "NoSwap"`} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("nothing said about %q in:\n%v", key, err)
		}
	}
}

func TestTimesThatCannotBe(t *testing.T) {
	for text, want := range map[string]string{
		"kubelet: {shutdownGracePeriod: 30s, shutdownGracePeriodCriticalPods: 10s}":                               "",
		"kubelet: {shutdownGracePeriod: 100ms}":                                                                   "kubelet.shutdownGracePeriod: 100ms is neither 0 nor a second or more",
		"kubelet: {shutdownGracePeriod: 10s, shutdownGracePeriodCriticalPods: 20s}":                               "kubelet.shutdownGracePeriodCriticalPods: 20s is more than shutdownGracePeriod, 10s",
		"kubelet: {shutdownGracePeriodByPodPriority: [{priority: 5, shutdownGracePeriodSeconds: 9}]}":             "",
		"kubelet: {shutdownGracePeriodByPodPriority: [{priority: 5, shutdownGracePeriodSeconds: -9}]}":            "kubelet.shutdownGracePeriodByPodPriority: -9 seconds for priority 5",
		"kubelet: {shutdownGracePeriod: 9s, shutdownGracePeriodByPodPriority: [{shutdownGracePeriodSeconds: 9}]}": "kubelet.shutdownGracePeriodByPodPriority: it does not go together with shutdownGracePeriod",
		"autoscaling: {period: 5s, tolerance: 0.2, stabilization: 1m}":                                            "",
		"autoscaling: {period: 5ms}":         "autoscaling.period: 5ms is too short",
		"autoscaling: {readinessDelay: -1s}": "autoscaling.readinessDelay: -1s is too short",
		"autoscaling: {tolerance: 1.5}":      "autoscaling.tolerance: 1.5 is not 0 to 1",
	} {
		c := Config{Node: "a"}
		if err := c.Parse("f.yaml", []byte(text)); err != nil {
			t.Fatal(err)
		}
		c.Complete()
		got := ""
		if err := c.Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("node: a\nnetwork: {pods: [10.0.0.0/8]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c Config
		if c.Parse("f", data) == nil {
			c.Complete()
			_ = c.Check()
		}
	})
}

func TestSettings(t *testing.T) {
	c := Config{Node: "a", API: API{Listen: "127.0.0.1:1", MaxRequests: 7}, Runtime: Runtime{Registries: map[string]Registry{"r.example": {Password: "hush"}}}}
	got := c.Settings()
	for name, want := range map[string]string{"node": "a", "api.listen": "127.0.0.1:1", "api.maxRequests": "7", "api.goawayChance": "0", "runtime.registries.r.example.password": "(hidden)"} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
}

func TestKubeletSettings(t *testing.T) {
	k := Kubelet{Listen: "0.0.0.0:1", MaxPods: 7, Labels: map[string]string{"a": "b"}, EvictionHard: map[string]string{"memory.available": "1Gi"}, ShutdownGracePeriod: 90 * time.Second,
		MemorySwap: MemorySwap{SwapBehavior: "LimitedSwap"}}
	want := map[string]any{"maxPods": 7, "evictionHard": map[string]any{"memory.available": "1Gi"}, "shutdownGracePeriod": "1m30s",
		"memorySwap": map[string]any{"swapBehavior": "LimitedSwap"}}
	if got := k.Settings(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
