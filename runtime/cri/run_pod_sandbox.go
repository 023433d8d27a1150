package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/container"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/sandbox"
)

// keeperScore is the oom_score_adj of keepers: like that of pause containers, nearly the last to be killed.
const keeperScore = -998

// RunPodSandbox makes a pod's namespaces and network. On an error nothing is left.
func (r *Runtime) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	config := req.GetConfig()
	if config.GetMetadata().GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "pod sandbox without a name")
	}
	if r.oci[req.RuntimeHandler] == nil {
		return nil, status.Errorf(codes.InvalidArgument, "no runtime handler %q is configured", req.RuntimeHandler)
	}
	if ids, err := container.IDs(config); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	} else if ids.Size > 0 && !r.mapsUsers(req.RuntimeHandler) {
		return nil, status.Errorf(codes.FailedPrecondition, "runtime handler %q does not support user namespaces", req.RuntimeHandler)
	}
	p, err := r.newPod(config, req.RuntimeHandler)
	if err != nil {
		return nil, err
	}
	name := podName(config.Metadata)
	if err := r.reserve(name, p.id); err != nil {
		return nil, status.Error(codes.AlreadyExists, err.Error())
	}
	if err := r.runPod(ctx, p); err != nil {
		r.background(time.Minute, func(ctx context.Context) {
			if err := r.destroyPod(ctx, p); err != nil {
				r.log.Error("clean up after a sandbox that could not be made", "sandbox", p.id, "err", err)
			}
			r.release(name)
		})
		return nil, fmt.Errorf("run pod sandbox %s/%s: %w", config.Metadata.Namespace, config.Metadata.Name, err)
	}
	r.mu.Lock()
	r.pods[p.id] = p
	r.mu.Unlock()
	r.tell(p, p.id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	r.tell(p, p.id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: p.id}, nil
}

func (r *Runtime) newPod(config *runtimeapi.PodSandboxConfig, handler string) (*pod, error) {
	config = proto.Clone(config).(*runtimeapi.PodSandboxConfig)
	data, err := proto.Marshal(config)
	if err != nil {
		return nil, err
	}
	id := newID()
	p := &pod{id: id, config: config, paths: sandbox.PathsOf(r.deps.Root, r.deps.Run, id)}
	p.rec = podRecord{Version: 1, ID: id, CreatedAt: time.Now().UnixNano(), Handler: handler, Config: data, Phase: phaseMaking,
		Cgroup: config.GetLinux().GetCgroupParent()}
	if p.rec.Cgroup == "" {
		p.rec.Cgroup = filepath.Join(r.deps.CgroupParent, "pods", id)
	}
	_, err = os.Stat(r.anyGroupDir(p.rec.Cgroup))
	p.rec.OwnCgroup = err != nil
	return p, nil
}

// anyGroupDir is one of the directories of a cgroup, to see whether it exists.
func (r *Runtime) anyGroupDir(path string) string {
	g := r.tree.At(path)
	if g.Dir() != "" {
		return g.Dir()
	}
	for _, file := range g.Procs() {
		return filepath.Dir(file)
	}
	return "/nonexistent"
}

// runPod does the work of RunPodSandbox. Keeper, files and network are made at the same time.
func (r *Runtime) runPod(ctx context.Context, p *pod) error {
	if err := os.Mkdir(p.paths.Dir, 0o711); err != nil {
		return err
	}
	if err := r.savePod(p); err != nil {
		return err
	}
	files := make(chan error, 1)
	go func() { files <- p.paths.Prepare(p.config) }() // awaited below
	group := make(chan error, 1)
	go func() { group <- r.podGroup(p) }() // awaited below
	k, err := r.binary.Spawn(ctx, r.keeperSpec(p), func(pid int) error { return r.attach(ctx, p, pid) })
	ferr, gerr := <-files, <-group
	if err == nil {
		r.mu.Lock()
		p.keeper = k
		r.mu.Unlock()
		r.follow(p, k)
		if err = ferr; err == nil {
			err = gerr
		}
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	p.rec.Phase = phaseReady
	r.mu.Unlock()
	return r.savePod(p)
}

// podGroup makes the pod's cgroup unless the kubelet did, and then gives it the limits of the pod as a whole.
func (r *Runtime) podGroup(p *pod) error {
	g, err := r.tree.Create(p.rec.Cgroup)
	if err != nil || !p.rec.OwnCgroup {
		return err
	}
	return g.Apply(container.Limits(p.config.GetLinux().GetResources()))
}

// attach pins the new network namespace and connects it, while the keeper sets itself up.
func (r *Runtime) attach(ctx context.Context, p *pod, pid int) error {
	if sandbox.HostNetwork(p.config) {
		return nil
	}
	if err := p.paths.PinNetNS(pid); err != nil {
		return err
	}
	ips, err := r.deps.Network.Attach(ctx, networkPod(p))
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	r.mu.Lock()
	p.rec.IPs = ips
	r.mu.Unlock()
	return nil
}

func networkPod(p *pod) sandbox.NetworkPod {
	m := p.config.GetMetadata()
	return sandbox.NetworkPod{ID: p.id, Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUid(), NetNS: p.paths.NetNS,
		Ports: p.config.PortMappings, Hostname: p.config.Hostname, Annotations: p.config.Annotations}
}

func (r *Runtime) keeperSpec(p *pod) keeper.Spec {
	host := sandbox.HostNetwork(p.config)
	ids, _ := container.IDs(p.config) // checked before the pod was made
	s := keeper.Spec{
		Setup: wire.Setup{ID: p.id, IDs: ids, Dir: p.paths.Keeper, Hostname: p.config.Hostname, Loopback: !host,
			SharePID: sandbox.SharePID(p.config), OOMScore: keeperScore},
		HostNetwork: host, HostIPC: sandbox.HostIPC(p.config), HostUTS: host,
		CgroupDir: r.keepers.Dir(), CgroupProcs: r.keeperProcs,
	}
	if host {
		s.Setup.Hostname = ""
	}
	for name, value := range p.config.GetLinux().GetSysctls() {
		if host && strings.HasPrefix(name, "net.") {
			continue // those are the host's
		}
		s.Setup.Sysctls = append(s.Setup.Sysctls, wire.KeyValue{Key: name, Value: value})
	}
	slices.SortFunc(s.Setup.Sysctls, func(a, b wire.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return s
}
