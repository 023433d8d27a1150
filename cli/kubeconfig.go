package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"proa.dev/kit/atomicfile"
	"proa.dev/process"
)

// contextName names the cluster, the user and the context in a kubeconfig.
const contextName = "proa"

// sections are the lists of a kubeconfig that hold named entries.
var sections = []string{"clusters", "users", "contexts"}

func kubeconfig(_ context.Context, c *call) error {
	if c.flags["merge"] {
		path, name, err := mergeKubeconfig(c)
		if err == nil {
			fmt.Fprintf(c.out, "context %q in %s\n", name, path)
		}
		return err
	}
	own, err := ownKubeconfig(c)
	if c.flags["node"] {
		own, err = nodeKubeconfig(c)
	}
	if err != nil {
		return err
	}
	own["current-context"] = contextName
	text, err := yaml.Marshal(own)
	if err != nil {
		return err
	}
	_, err = c.out.Write(text)
	return err
}

// ownKubeconfig is a kubeconfig with nothing but this cluster.
func ownKubeconfig(c *call) (map[string]any, error) {
	admin, err := process.AdminAccess(c.config)
	if err != nil {
		return nil, hinted{err, "start the cluster once with proa up"}
	}
	return kubeconfigOf(admin), nil
}

// nodeKubeconfig is one for a node that joins. Its certificate identifies the node to the API, and serves the node's own API too.
func nodeKubeconfig(c *call) (map[string]any, error) {
	ip, err := netip.ParseAddr(c.values["node-ip"])
	if err != nil {
		return nil, usageError{"kubeconfig --node=NAME: say also --node-ip=IP, by which the server reaches that node"}
	}
	access, err := process.NodeAccess(c.config, c.config.Node, ip)
	if err != nil {
		return nil, hinted{err, "start the cluster once with proa up"}
	}
	return kubeconfigOf(access), nil
}

func kubeconfigOf(admin process.Access) map[string]any {
	b64 := base64.StdEncoding.EncodeToString
	entry := func(kind string, body map[string]any) []any {
		return []any{map[string]any{"name": contextName, kind: body}}
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Config",
		"clusters": entry("cluster", map[string]any{"server": admin.Server, "certificate-authority-data": b64(admin.CA)}),
		"users":    entry("user", map[string]any{"client-certificate-data": b64(admin.Cert), "client-key-data": b64(admin.Key)}),
		"contexts": entry("context", map[string]any{"cluster": contextName, "user": contextName}),
	}
}

// mergeKubeconfig puts this cluster into the user's kubeconfig. The current context changes only if there was none.
func mergeKubeconfig(c *call) (path, name string, err error) {
	own, err := ownKubeconfig(c)
	if err != nil {
		return "", "", err
	}
	path, have, err := readKubeconfig(c)
	if err != nil {
		return "", "", err
	}
	for _, section := range sections {
		have[section] = append(without(have[section]), own[section].([]any)...)
	}
	if current, _ := have["current-context"].(string); current == "" {
		have["current-context"] = contextName
	}
	have["apiVersion"], have["kind"] = "v1", "Config"
	return path, contextName, writeKubeconfig(path, have)
}

// dropKubeconfig takes this cluster out of the user's kubeconfig again.
func dropKubeconfig(c *call) error {
	path, have, err := readKubeconfig(c)
	if err != nil || len(have) == 0 {
		return err
	}
	entries := 0
	for _, section := range sections {
		rest := without(have[section])
		have[section] = rest
		entries += len(rest)
	}
	if have["current-context"] == contextName {
		delete(have, "current-context")
	}
	if entries == 0 {
		return os.Remove(path)
	}
	return writeKubeconfig(path, have)
}

// without is a section's list without our entry.
func without(list any) []any {
	entries, _ := list.([]any)
	return slices.DeleteFunc(slices.Clone(entries), func(e any) bool {
		m, _ := e.(map[string]any)
		return m["name"] == contextName
	})
}

func kubeconfigPath(c *call) (string, error) {
	if c.config.Kubeconfig != "" {
		return c.config.Kubeconfig, nil
	}
	if list := filepath.SplitList(os.Getenv("KUBECONFIG")); len(list) > 0 && list[0] != "" {
		return list[0], nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hinted{fmt.Errorf("find your kubeconfig: %w", err), "name a file with --kubeconfig"}
	}
	return filepath.Join(home, ".kube", "config"), nil
}

func readKubeconfig(c *call) (path string, have map[string]any, err error) {
	path, err = kubeconfigPath(c)
	if err != nil {
		return "", nil, err
	}
	have = map[string]any{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, have, nil
	}
	if err != nil {
		return path, nil, fmt.Errorf("read your kubeconfig: %w", err)
	}
	if err := yaml.Unmarshal(data, &have); err != nil {
		return path, nil, hinted{fmt.Errorf("read your kubeconfig %s: %w", path, err), "mend the file or name another with --kubeconfig"}
	}
	if have == nil {
		have = map[string]any{}
	}
	return path, have, nil
}

func writeKubeconfig(path string, have map[string]any) error {
	text, err := yaml.Marshal(have)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write your kubeconfig: %w", err)
	}
	return atomicfile.Write(path, text, 0o600)
}
