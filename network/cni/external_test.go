package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"proa.dev/kit/roottest"
	"proa.dev/network/nettest"
)

// plugin is a CNI plugin for the tests: the test binary under another name. It writes what it was called with into the file
// that its configuration names, and makes a real link in the pod.
func plugin(in io.Reader, out io.Writer) int {
	raw, err := io.ReadAll(in)
	if err != nil {
		return 1
	}
	var conf struct {
		Journal       string         `json:"journal"`
		Fail          bool           `json:"fail"`
		CNIVersion    string         `json:"cniVersion"`
		RuntimeConfig map[string]any `json:"runtimeConfig"`
	}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return 1
	}
	cmd, id := os.Getenv("CNI_COMMAND"), os.Getenv("CNI_CONTAINERID")
	if cmd != "VERSION" {
		j, err := os.OpenFile(conf.Journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 1
		}
		ports, _ := json.Marshal(conf.RuntimeConfig["portMappings"])
		fmt.Fprintf(j, "%s %s %s %s\n", cmd, id, os.Getenv("CNI_IFNAME"), ports)
		j.Close()
	}
	switch {
	case cmd == "VERSION":
		fmt.Fprint(out, `{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}`)
	case conf.Fail && cmd == "ADD":
		fmt.Fprint(out, `{"cniVersion": "1.0.0", "code": 11, "msg": "no addresses are left in the pool"}`)
		return 1
	case cmd == "ADD":
		if err := pluginAdd(); err != nil {
			fmt.Fprintf(out, `{"cniVersion": "1.0.0", "code": 100, "msg": %q}`, err)
			return 1
		}
		fmt.Fprintf(out, `{"cniVersion": "1.0.0", "interfaces": [{"name": "host0"}, {"name": "eth0", "sandbox": %q}],
			"ips": [{"interface": 1, "address": "10.99.0.2/24"}, {"interface": 1, "address": "fd99::2/64"}]}`, os.Getenv("CNI_NETNS"))
	}
	return 0
}

func pluginAdd() error {
	ns, err := netns.GetFromPath(os.Getenv("CNI_NETNS"))
	if err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: os.Getenv("CNI_IFNAME"), PeerNamespace: netlink.NsFd(ns)}
	veth.Name = "ext" + os.Getenv("CNI_CONTAINERID")
	return netlink.LinkAdd(veth)
}

// externalNode makes a plugin that calls the test binary, with conf as configuration; JOURNAL in it is the journal's name.
func externalNode(t *testing.T, conf string) (p *Plugin, cfg Config, journal func() string) {
	t.Helper()
	roottest.Need(t, "makes links and namespaces")
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg = Config{Bridge: "proatest1", StateDir: dir + "/state", ConfDir: dir + "/net.d", BinDirs: []string{dir}}
	file := filepath.Join(dir, "journal")
	if err := os.Symlink(self, filepath.Join(dir, "testplugin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(cfg.ConfDir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeConf(t, cfg, strings.ReplaceAll(conf, "JOURNAL", file))
	if p, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
		p.Close()
	})
	return p, cfg, func() string {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
}

func writeConf(t *testing.T, cfg Config, conf string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(cfg.ConfDir, "10-test.conflist"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
}

const testList = `{"cniVersion": "1.0.0", "name": "testnet", "plugins": [
	{"type": "testplugin", "journal": "JOURNAL", "capabilities": {"portMappings": true}}]}`

func TestExternalPlugin(t *testing.T) {
	p, cfg, journal := externalNode(t, testList)
	ns := nettest.New(t)
	pod := Pod{ID: "one", Namespace: "default", Name: "web", UID: "u", NetNS: ns.Path(),
		Ports: []Port{{HostPort: 8080, ContainerPort: 80, HostIP: netip.MustParseAddr("192.0.2.1")}}}
	for range 2 { // the second finds the first
		got, err := p.Attach(t.Context(), pod)
		if want := "[10.99.0.2 fd99::2]"; err != nil || fmt.Sprint(got) != want {
			t.Fatalf("Attach: %v, %v, want %s", got, err, want)
		}
	}
	err := ns.Do(func() error { _, err := net.InterfaceByName("eth0"); return err })
	if err != nil {
		t.Errorf("eth0 in the pod: %v", err)
	}
	if err := p.Check(t.Context(), pod); err != nil {
		t.Error(err)
	}
	left, err := p.Leftovers()
	if diff := cmp.Diff([]string{"attachment of one to network testnet", "bridge proatest1"}, left); err != nil || diff != "" {
		t.Errorf("Leftovers: %v\n%s", err, diff)
	}
	// The configuration changes under running pods, which are detached with the one they were attached with.
	writeConf(t, cfg, `{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "missing"}]}`)
	for range 2 {
		if err := p.Detach(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	ports := `[{"containerPort":80,"hostIP":"192.0.2.1","hostPort":8080,"protocol":"tcp"}]`
	want := "ADD one eth0 " + ports + "\nCHECK one eth0 " + ports + "\nCHECK one eth0 " + ports + "\nDEL one eth0 " + ports + "\n"
	if diff := cmp.Diff(want, journal()); diff != "" {
		t.Errorf("calls of the plugin (-want +got):\n%s", diff)
	}
	if _, err := p.Attach(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a missing plugin: %v", err)
	}
}

func TestExternalFailureIsUndone(t *testing.T) {
	p, _, journal := externalNode(t, strings.Replace(testList, `"journal"`, `"fail": true, "journal"`, 1))
	pod := Pod{ID: "two", Namespace: "default", Name: "web", NetNS: nettest.New(t).Path()}
	_, err := p.Attach(t.Context(), pod)
	if err == nil || !strings.Contains(err.Error(), "no addresses are left in the pool") {
		t.Errorf("got %v, want the plugin's words", err)
	}
	if diff := cmp.Diff("ADD two eth0 null\nDEL two eth0 null\n", journal()); diff != "" {
		t.Errorf("calls of the plugin (-want +got):\n%s", diff)
	}
}

func TestExternalReconcileRemovesTheDead(t *testing.T) {
	p, cfg, journal := externalNode(t, testList)
	for _, id := range []string{"live", "dead"} {
		if _, err := p.Attach(t.Context(), Pod{ID: id, Name: id, NetNS: nettest.New(t).Path()}); err != nil {
			t.Fatal(err)
		}
	}
	second, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Reconcile(t.Context(), []string{"live"}); err != nil {
		t.Fatal(err)
	}
	if err := second.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "ADD live eth0 null\nADD dead eth0 null\nDEL dead eth0 null\nDEL live eth0 null\n"
	if diff := cmp.Diff(want, journal()); diff != "" {
		t.Errorf("calls of the plugin (-want +got):\n%s", diff)
	}
	if left, err := second.Leftovers(); err != nil || len(left) > 0 {
		t.Errorf("after Cleanup: %v, %v", left, err)
	}
}

func TestExternalReadsTheOlderForm(t *testing.T) {
	p, _, journal := externalNode(t, `{"cniVersion": "0.4.0", "name": "testnet", "type": "testplugin", "journal": "JOURNAL"}`)
	pod := Pod{ID: "old", Name: "old", NetNS: nettest.New(t).Path()}
	if got, err := p.Attach(t.Context(), pod); err != nil || fmt.Sprint(got) != "[10.99.0.2 fd99::2]" {
		t.Errorf("Attach: %v, %v", got, err)
	}
	if err := p.Detach(t.Context(), pod); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff("ADD old eth0 null\nDEL old eth0 null\n", journal()); diff != "" {
		t.Errorf("calls of the plugin (-want +got):\n%s", diff)
	}
}

func TestExternalWithoutConfiguration(t *testing.T) {
	roottest.Need(t, "makes links")
	p, err := New(Config{Bridge: "proatest1", StateDir: t.TempDir(), ConfDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	defer p.Cleanup(context.Background())
	_, err = p.Attach(t.Context(), Pod{ID: "x", NetNS: "/proc/self/ns/net"})
	for _, err := range []error{err, p.Ready()} {
		if err == nil || !strings.Contains(err.Error(), "no CNI configuration in") {
			t.Errorf("got %v", err)
		}
	}
}
