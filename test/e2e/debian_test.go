package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"proa.dev/test/images"
)

// importDebian makes an image of Debian packages and brings it onto the machine.
func (c *cluster) importDebian(name string, packages ...string) {
	c.t.Helper()
	archive, err := images.Debian(c.t.Context(), c.t.TempDir(), name, packages...)
	if err != nil {
		c.t.Fatalf("make %s of Debian packages: %v", name, err)
	}
	c.importImages(archive)
}

// thirdParty is nginx in front of redis: a sidecar writes what redis holds under "page" where nginx serves it.
const thirdParty = `
apiVersion: v1
kind: Service
metadata: {name: cache}
spec:
  selector: {app: cache}
  ports: [{port: 6379}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cache}
spec:
  serviceName: cache
  selector: {matchLabels: {app: cache}}
  template:
    metadata: {labels: {app: cache}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: redis
        image: docker.io/test/redis:1
        command: [redis-server, --dir, /data, --appendonly, "yes", --protected-mode, "no"]
        volumeMounts: [{name: data, mountPath: /data}]
        readinessProbe: {exec: {command: [redis-cli, ping]}, periodSeconds: 1}
      volumes:
      - name: data
        hostPath: {path: %s, type: DirectoryOrCreate}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nginx}
data:
  nginx.conf: |
    daemon off;
    error_log stderr;
    pid /tmp/nginx.pid;
    events {}
    http {
      access_log off;
      server { listen 8080; root /html; }
    }
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec:
  type: NodePort
  selector: {app: front}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec:
      terminationGracePeriodSeconds: 2
      initContainers:
      - name: wait
        image: docker.io/test/redis:1
        command: [/bin/busybox, sh, -c, "until redis-cli -h cache ping; do /bin/busybox sleep 1; done"]
      - name: fill
        image: docker.io/test/redis:1
        restartPolicy: Always
        command: [/bin/busybox, sh, -c, "while :; do redis-cli -h cache get page > /html/new && /bin/busybox mv /html/new /html/index.html; /bin/busybox sleep 1; done"]
        volumeMounts: [{name: html, mountPath: /html}]
      containers:
      - name: nginx
        image: docker.io/test/nginx:1
        command: [nginx, -c, /etc/front/nginx.conf]
        volumeMounts: [{name: html, mountPath: /html, readOnly: true}, {name: conf, mountPath: /etc/front}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
      volumes:
      - {name: html, emptyDir: {}}
      - {name: conf, configMap: {name: nginx}}
`

// TestThirdParty runs redis and nginx as Debian ships them; the data survives the pod.
func TestThirdParty(t *testing.T) {
	c := newCluster(t, "")
	c.up()
	c.runThirdParty()
}

func (c *cluster) runThirdParty() {
	c.t.Helper()
	c.importDebian("docker.io/test/redis:1", "redis-server", "redis-tools", "busybox-static")
	c.importDebian("docker.io/test/nginx:1", "nginx-light")
	c.apply(fmt.Sprintf(thirdParty, c.Dir+"/redis"))
	c.kubectl("rollout", "status", "statefulset/cache", "--timeout=90s")
	c.kubectl("exec", "cache-0", "--", "redis-cli", "set", "page", "hello from the cache")
	c.kubectl("rollout", "status", "deployment/front", "--timeout=90s")
	front := func() string {
		resp, err := c.web().Get("http://" + nodeIP + ":30081/")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	c.eventually(30*time.Second, "nginx serves what redis holds", func() bool { return strings.Contains(front(), "hello from the cache") })
	was := c.kubectl("get", "pod", "cache-0", "-o", "jsonpath={.metadata.uid}")
	c.kubectl("delete", "pod", "cache-0")
	c.kubectl("rollout", "status", "statefulset/cache", "--timeout=60s")
	if now := c.kubectl("get", "pod", "cache-0", "-o", "jsonpath={.metadata.uid}"); now == was {
		c.t.Error("cache-0 is still the deleted pod")
	}
	if got := c.kubectl("exec", "cache-0", "--", "redis-cli", "get", "page"); got != "hello from the cache" {
		c.t.Errorf("redis holds %q after its pod was replaced", got)
	}
}
