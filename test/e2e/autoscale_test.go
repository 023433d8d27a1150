package e2e

import (
	"strconv"
	"testing"
	"time"
)

// TestAutoscale has a Deployment grow while its pods burn what the CPU gives them, and shrink when they have stopped.
func TestAutoscale(t *testing.T) {
	c := newCluster(t, "autoscaling: {period: 2s, cpuInitialization: 1s}\n")
	t.Log(c.proa("up"))
	c.importDebian("docker.io/test/busybox:1", "busybox-static")
	// Even a busy machine gives 60m: three times what is asked for.
	c.apply(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: burner}, spec: {selector: {matchLabels: {app: burner}}, template: {metadata: {labels: {app: burner}},
		spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "docker.io/test/busybox:1",
			resources: {requests: {cpu: 20m}, limits: {cpu: 150m}},
			command: [/bin/busybox, sh, -c, "/bin/busybox timeout 8 /bin/busybox sh -c 'while :; do :; done'; exec /bin/busybox sleep 1000"]}]}}}}`)
	c.apply(`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: burner}, spec: {minReplicas: 1, maxReplicas: 3,
		scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: burner}, behavior: {scaleDown: {stabilizationWindowSeconds: 0}},
		metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 100}}}]}}`)
	began := time.Now()
	replicas := func() int {
		n, _ := strconv.Atoi(c.kubectl("get", "deploy", "burner", "-o", "jsonpath={.spec.replicas}")) // 0 for nothing
		return n
	}
	c.eventually(60*time.Second, "more replicas", func() bool { return replicas() > 1 })
	up := time.Since(began)
	c.says(t, []string{"get", "hpa"}, "REFERENCE", "Deployment/burner", "cpu: ", "%/100%")
	c.says(t, []string{"describe", "hpa", "burner"}, "SuccessfulRescale", "reason: cpu resource utilization (percentage of request) above target", "ValidMetricFound", "AbleToScale")
	c.eventually(90*time.Second, "one replica again", func() bool { return replicas() == 1 })
	t.Logf("up after %v, down after %v", up, time.Since(began))
	c.says(t, []string{"get", "events"}, "reason: All metrics below target")
	if text := c.kubectl("get", "hpa", "burner", "-o", "jsonpath={.status.conditions[*].type}"); text != "AbleToScale ScalingActive ScalingLimited" {
		t.Errorf("conditions: %s", text)
	}
}
