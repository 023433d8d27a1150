package process

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"proa.dev/config"
)

func TestTaintsAndLogsOfTheConfiguration(t *testing.T) {
	taints, err := taintsOf(config.Kubelet{RegisterWithTaints: []config.Taint{{Key: "a", Value: "b", Effect: "NoExecute"}}})
	if err != nil || fmt.Sprint(taints) != "[{a b NoExecute <nil>}]" {
		t.Errorf("taints: %v, %v", taints, err)
	}
	_, err = taintsOf(config.Kubelet{RegisterWithTaints: []config.Taint{{Key: "a", Effect: "noexecute"}}})
	expectError(t, err, `kubelet.registerWithTaints: a: effect "noexecute" is not one of NoSchedule, PreferNoSchedule, NoExecute`)
	l, err := logsOf(config.Kubelet{ContainerLogMaxSize: "1Mi", ContainerLogMaxFiles: 3})
	if err != nil || l.MaxSize != 1<<20 || l.MaxFiles != 3 {
		t.Errorf("logs: %v, %v", l, err)
	}
	_, err = logsOf(config.Kubelet{ContainerLogMaxSize: "1 MB"})
	expectError(t, err, `kubelet.containerLogMaxSize: "1 MB" is not a quantity such as 10Mi`)
	_, err = logsOf(config.Kubelet{ContainerLogMaxFiles: 1})
	expectError(t, err, "kubelet.containerLogMaxFiles: 1 is too few: at least 2")
	l, err = logsOf(config.Kubelet{ContainerLogMaxSize: "-1", ContainerLogMonitorInterval: 4 * time.Second, ContainerLogMaxWorkers: 7})
	if err != nil || l.MaxSize != -1 || l.Interval != 4*time.Second || l.Workers != 7 {
		t.Errorf("logs: %v, %v", l, err)
	}
	_, err = logsOf(config.Kubelet{ContainerLogMonitorInterval: 2 * time.Second})
	expectError(t, err, "kubelet.containerLogMonitorInterval: 2s is too short: at least 3s")
	_, err = logsOf(config.Kubelet{ContainerLogMaxWorkers: -1})
	expectError(t, err, "kubelet.containerLogMaxWorkers: -1 is too few: at least 1")
	if n := maxPods(config.Kubelet{MaxPods: 1 << 20, PodsPerCore: 3}); n != 3*runtime.NumCPU() {
		t.Errorf("%d pods at 3 a core", n)
	}
	if n := maxPods(config.Kubelet{MaxPods: 2, PodsPerCore: 300}); n != 2 {
		t.Errorf("%d pods", n)
	}
}

func expectError(t *testing.T, err error, want string) {
	t.Helper()
	if fmt.Sprint(err) != want {
		t.Errorf("%v, not %s", err, want)
	}
}
