package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// external runs the plugins of a CNI configuration (CNI specification 1.1). libcni keeps what each attachment was made with in
// <StateDir>/results, so that it can be undone after the configuration has changed.
//
// It makes the bridge too, without addresses: the parts of the network that are not about pods (the address of DNS, the route of
// the service ranges) have their place there whoever connects the pods.
type external struct {
	cfg   Config
	cni   *libcni.CNIConfig
	nl    *netlink.Handle
	locks [64]sync.Mutex // by sandbox: see lock
}

func newExternal(cfg Config) (*external, error) {
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	x, err := openExternal(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := makeBridge(x.nl, cfg.Bridge, cfg.MTU); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func openExternal(cfg Config) (*external, error) {
	if len(cfg.BinDirs) == 0 {
		cfg.BinDirs = []string{"/opt/cni/bin"}
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &external{cfg: cfg, cni: libcni.NewCNIConfigWithCacheDir(cfg.BinDirs, cfg.StateDir, nil), nl: nl}, nil
}

// lock makes the operations on one sandbox follow each other, as the specification demands.
func (x *external) lock(id string) (unlock func()) {
	h := fnv.New32a()
	h.Write([]byte(id))
	m := &x.locks[h.Sum32()%uint32(len(x.locks))]
	m.Lock()
	return m.Unlock
}

// network reads the first configuration of the directory, by name of the file. It is read again every time: whoever installs a
// network may do so while pods are waiting for it.
func (x *external) network() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(x.cfg.ConfDir, []string{".conf", ".conflist", ".json"})
	if err != nil {
		return nil, fmt.Errorf("read CNI configuration: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no CNI configuration in %s", x.cfg.ConfDir)
	}
	slices.Sort(files)
	var bad error
	for _, f := range files {
		list, err := readNetwork(f)
		if err == nil && len(list.Plugins) > 0 {
			return list, nil
		}
		bad = errors.Join(bad, fmt.Errorf("read CNI configuration %s: %w", f, err))
	}
	return nil, bad
}

// readNetwork reads a list of plugins or, the older form, a single one.
func readNetwork(file string) (*libcni.NetworkConfigList, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var shape struct {
		Plugins []json.RawMessage `json:"plugins"`
		Type    string            `json:"type"`
		Name    string            `json:"name"`
		Version string            `json:"cniVersion"`
	}
	if err := json.Unmarshal(raw, &shape); err != nil {
		return nil, err
	}
	if len(shape.Plugins) == 0 && shape.Type != "" {
		list, err := json.Marshal(map[string]any{"cniVersion": shape.Version, "name": shape.Name, "plugins": []json.RawMessage{raw}})
		if err != nil {
			return nil, err
		}
		return libcni.NetworkConfFromBytes(list)
	}
	return libcni.NetworkConfFromFile(file)
}

// invocation is how plugins are called for a pod.
func invocation(p Pod) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{ContainerID: p.ID, NetNS: p.NetNS, IfName: podLink, Args: [][2]string{
		{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", p.Namespace}, {"K8S_POD_NAME", p.Name},
		{"K8S_POD_INFRA_CONTAINER_ID", p.ID}, {"K8S_POD_UID", p.UID}},
		CapabilityArgs: map[string]any{}}
	if len(p.Annotations) > 0 {
		rt.CapabilityArgs["io.kubernetes.cri.pod-annotations"] = p.Annotations
	}
	type mapping struct {
		HostPort      uint16 `json:"hostPort"`
		ContainerPort uint16 `json:"containerPort"`
		Protocol      string `json:"protocol"`
		HostIP        string `json:"hostIP,omitempty"`
	}
	var ports []mapping
	for _, m := range p.Ports {
		if m.HostPort == 0 {
			continue
		}
		to := mapping{m.HostPort, m.ContainerPort, strings.ToLower(m.Protocol), ""}
		if to.Protocol == "" {
			to.Protocol = "tcp"
		}
		if m.HostIP.IsValid() {
			to.HostIP = m.HostIP.String()
		}
		ports = append(ports, to)
	}
	if len(ports) > 0 {
		rt.CapabilityArgs["portMappings"] = ports
	}
	return rt
}

func (x *external) attach(ctx context.Context, p Pod) ([]netip.Addr, error) {
	defer x.lock(p.ID)()
	list, err := x.network()
	if err != nil {
		return nil, err
	}
	rt := invocation(p)
	if err := loopbackUp(p.NetNS); err != nil {
		return nil, err
	}
	if known, err := x.cni.GetNetworkListCachedResult(list, rt); err == nil && known != nil {
		if x.cni.CheckNetworkList(ctx, list, rt) == nil {
			return addresses(known)
		}
		if err := x.cni.DelNetworkList(ctx, list, rt); err != nil { // half made: ADD must not be repeated on top of it
			return nil, fmt.Errorf("undo network %s: %w", list.Name, err)
		}
	}
	res, err := x.cni.AddNetworkList(ctx, list, rt)
	if err != nil {
		// The specification asks for a DEL after a failed ADD, and the ADD's error is the one that counts.
		if undo := x.cni.DelNetworkList(ctx, list, rt); undo != nil {
			x.cfg.Log.Warn("cannot undo a failed network attachment", "network", list.Name, "sandbox", p.ID, "err", undo)
		}
		return nil, fmt.Errorf("add to network %s: %w", list.Name, err)
	}
	return addresses(res)
}

// addresses are those of the pod's interface in a result of any version.
func addresses(res types.Result) ([]netip.Addr, error) {
	r, err := types100.NewResultFromResult(res)
	if err != nil {
		return nil, fmt.Errorf("read CNI result: %w", err)
	}
	var out []netip.Addr
	for _, ip := range r.IPs {
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		inPod := ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(r.Interfaces) || r.Interfaces[*ip.Interface].Sandbox != ""
		if ok && inPod {
			out = append(out, a.Unmap())
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the network plugin gave the pod no address")
	}
	return out, nil
}

// loopbackUp brings lo up, which is the runtime's business.
func loopbackUp(path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	in, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer in.Close()
	lo, err := in.LinkByName("lo")
	if err == nil {
		err = in.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring lo up in the pod: %w", err)
	}
	return nil
}

// detach undoes every attachment of the sandbox with the configuration it was made with.
func (x *external) detach(ctx context.Context, p Pod) error {
	defer x.lock(p.ID)()
	made, err := x.cni.GetCachedAttachments(p.ID)
	if err != nil {
		return fmt.Errorf("read attachments: %w", err)
	}
	var errs error
	for _, a := range made {
		errs = errors.Join(errs, x.undo(ctx, a))
	}
	return errs
}

func (x *external) undo(ctx context.Context, a *libcni.NetworkAttachment) error {
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return fmt.Errorf("read configuration of network %s: %w", a.Network, err)
	}
	rt := &libcni.RuntimeConf{ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName, Args: a.CniArgs, CapabilityArgs: a.CapabilityArgs}
	if _, err := os.Stat(a.NetNS); err != nil {
		rt.NetNS = "" // gone already: plugins free what is outside of it
	}
	if err := x.cni.DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("remove from network %s: %w", a.Network, err)
	}
	return nil
}

func (x *external) check(ctx context.Context, p Pod) error {
	defer x.lock(p.ID)()
	list, err := x.network()
	if err != nil {
		return err
	}
	return x.cni.CheckNetworkList(ctx, list, invocation(p))
}

func (x *external) ready() error {
	_, err := x.network()
	return err
}

func (x *external) run(ctx context.Context) error {
	<-ctx.Done() // the plugins look after what is theirs
	return ctx.Err()
}

func (x *external) reconcile(ctx context.Context, live map[string]bool) error {
	made, err := x.cni.GetCachedAttachments("")
	if err != nil {
		return fmt.Errorf("read attachments: %w", err)
	}
	var errs error
	for _, a := range made {
		if !live[a.ContainerID] {
			errs = errors.Join(errs, x.undo(ctx, a))
		}
	}
	return errs
}

func (x *external) flush(context.Context) error { return nil } // nothing is done in the background

func (x *external) cleanup(ctx context.Context) error {
	err := x.reconcile(ctx, nil)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(x.cfg.StateDir); err != nil {
		return fmt.Errorf("remove CNI results: %w", err)
	}
	return removeBridge(x.nl, x.cfg.Bridge)
}

func (x *external) leftovers() ([]string, error) {
	made, err := x.cni.GetCachedAttachments("")
	if err != nil {
		return nil, fmt.Errorf("read attachments: %w", err)
	}
	var out []string
	for _, a := range made {
		out = append(out, fmt.Sprintf("attachment of %s to network %s", a.ContainerID, a.Network))
	}
	return append(out, bridgeLeft(x.nl, x.cfg.Bridge)...), nil
}

func (x *external) close() { x.nl.Close() }
