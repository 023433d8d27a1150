package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/config"
	"proa.dev/kit/atomicfile"
	"proa.dev/kit/dockerauth"
	kubeletcri "proa.dev/kubelet/cri"
)

// answerLimit is how long another runtime may take for its first answer.
const answerLimit = 10 * time.Second

// dialForeign connects to the runtime of runtime.endpoint and has it answer once: a daemon without its runtime would only wait.
func dialForeign(ctx context.Context, c *config.Config) (*kubeletcri.Conn, error) {
	endpoint := c.Runtime.Endpoint
	path := strings.TrimPrefix(endpoint, "unix://")
	probe, err := net.DialTimeout("unix", path, answerLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("runtime.endpoint %s: there is no such socket; start that runtime first, or leave runtime.endpoint out to use proa's own", endpoint)
	case err != nil:
		return nil, fmt.Errorf("runtime.endpoint %s: nothing answers there (%w); start that runtime first", endpoint, err)
	}
	probe.Close()
	conn, err := kubeletcri.Dial(endpoint)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	if _, err := conn.Version(ctx, &runtimeapi.VersionRequest{}); err != nil {
		return nil, errors.Join(fmt.Errorf("runtime.endpoint %s: the runtime does not speak CRI v1: %w", endpoint, err), conn.Close())
	}
	return conn, nil
}

// cniFile is the network configuration that another runtime finds where it looks for one.
func cniFile(c *config.Config) string { return filepath.Join(c.Network.CNIConf, "10-proa.conflist") }

// configureForeign writes the network configuration by which another runtime connects pods itself. One that stands there already
// is somebody's choice and stays.
func configureForeign(c *config.Config, ranges []netip.Prefix) error {
	entries, err := os.ReadDir(c.Network.CNIConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network.cniConf: %w", err)
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.Name() != filepath.Base(cniFile(c)) && (ext == ".conflist" || ext == ".conf" || ext == ".json") {
			return nil
		}
	}
	text, err := json.MarshalIndent(cniList(c, ranges), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Network.CNIConf, 0o755); err != nil {
		return fmt.Errorf("network.cniConf: %w", err)
	}
	return atomicfile.Write(cniFile(c), append(text, '\n'), 0o644)
}

// cniList is a configuration list of the CNI specification 1.0.0. It routes to pods, as the built-in plugin does: with ports of a
// bridge, replies between pods behind a Service would go past the node's rules wherever br_netfilter is off.
func cniList(c *config.Config, ranges []netip.Prefix) map[string]any {
	type object = map[string]any
	var sets, routes []any
	for _, r := range ranges {
		all := "0.0.0.0/0"
		if r.Addr().Is6() {
			all = "::/0"
		}
		sets = append(sets, []any{object{"subnet": r.String()}})
		routes = append(routes, object{"dst": all})
	}
	ipam := object{"type": "host-local", "dataDir": filepath.Join(c.RunDir, "host-local"), "ranges": sets, "routes": routes}
	return object{"cniVersion": "1.0.0", "name": "proa", "plugins": []any{
		object{"type": "ptp", "ipMasq": false, "ipam": ipam}, // what leaves the cluster is masqueraded by the node's own table
		object{"type": "portmap", "capabilities": object{"portMappings": true}},
	}}
}

// ownsSandbox says whether the kubelet of this node made the sandbox: its pod has a directory here.
func ownsSandbox(c *config.Config, s *runtimeapi.PodSandbox) bool {
	uid := s.GetMetadata().GetUid()
	if uid == "" || uid != filepath.Base(uid) {
		return false
	}
	_, err := os.Stat(filepath.Join(c.KubeletDir, "pods", uid))
	return err == nil
}

// foreignRuntime makes the cgroups of pods, and takes them away when their last sandbox goes: other runtimes know of containers only.
type foreignRuntime struct {
	*kubeletcri.Conn
	config *config.Config
	groups groups
	making *making
}

// RemovePodSandbox implements kubelet.Runtime.
func (r foreignRuntime) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	status, err := r.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: req.PodSandboxId})
	uid := ""
	if err == nil { // else it is gone already, or the removal below says why not
		uid = status.GetStatus().GetMetadata().GetUid()
	}
	resp, err := r.Conn.RemovePodSandbox(ctx, req)
	if err == nil {
		err = r.dropPod(ctx, uid)
	}
	return resp, err
}

// foreignImages answers the image commands where another runtime keeps the images.
type foreignImages struct{ endpoint string }

func (f foreignImages) refusal() error {
	return fmt.Errorf("images are kept by the runtime at %s: use its own tool, such as ctr --namespace k8s.io images, or crictl", f.endpoint)
}

func (f foreignImages) Import(context.Context, io.Reader) ([]string, error) { return nil, f.refusal() }
func (f foreignImages) Export(context.Context, io.Writer, ...string) error  { return f.refusal() }
func (f foreignImages) Pull(context.Context, string, *dockerauth.Entry, func(done, total int64)) (string, error) {
	return "", f.refusal()
}
func (f foreignImages) Push(context.Context, string, *dockerauth.Entry, func(done, total int64)) error {
	return f.refusal()
}
func (f foreignImages) Tag(string, string) error                   { return f.refusal() }
func (f foreignImages) Remove(context.Context, string) error       { return f.refusal() }
func (f foreignImages) Names(context.Context) ([]ImageInfo, error) { return nil, f.refusal() }
