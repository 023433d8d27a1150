package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestStaticPods runs a pod from a file on the node: the API shows a mirror of it, and deleting that does not touch the pod.
func TestStaticPods(t *testing.T) {
	dir := t.TempDir()
	c := newCluster(t, "  staticPods: "+dir+"\n")
	c.up()
	manifest := `{apiVersion: v1, kind: Pod, metadata: {name: fixed}, spec: {containers: [
		{name: web, image: docker.io/proa/shop-web:v1, env: [{name: STORE_PASSWORD, value: x}]}]}}`
	file := filepath.Join(dir, "fixed.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	container := func() string {
		out, _ := c.Command("kubectl", "get", "pod", "fixed-box", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.phase} {.metadata.annotations.kubernetes\\.io/config\\.mirror}").Output()
		return string(out)
	}
	c.eventually(30*time.Second, "the mirror shows the pod running", func() bool { return strings.Contains(container(), " Running ") })
	before := container()
	c.kubectl("delete", "pod", "fixed-box", "--wait=false")
	c.eventually(30*time.Second, "there is a mirror again, of the same container", func() bool { return container() == before })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	c.eventually(30*time.Second, "pod and mirror are gone", func() bool { return container() == "" })
	c.holdsOnly(nil)
}
