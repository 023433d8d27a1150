package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/container"
	"proa.dev/runtime/image"
	"proa.dev/runtime/oci"
	"proa.dev/runtime/sandbox"
)

// CreateContainer checks and records a container and makes its root file system. Nothing of it runs before StartContainer,
// so a crash leaves either a whole container or a directory to be swept.
func (r *Runtime) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	p, err := r.pod(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	config := req.GetConfig()
	if config.GetMetadata().GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "container without a name")
	}
	r.mu.Lock()
	ready := p.state() == runtimeapi.PodSandboxState_SANDBOX_READY
	r.mu.Unlock()
	if !ready {
		return nil, status.Errorf(codes.FailedPrecondition, "pod sandbox %s is not ready", p.id)
	}
	id := newID()
	c := &ctr{id: id, pod: p, config: proto.Clone(config).(*runtimeapi.ContainerConfig),
		dir: filepath.Join(r.deps.Root, "containers", id), ended: make(chan struct{})}
	name := ctrName(p.id, config.Metadata)
	if err := r.reserve(name, id); err != nil {
		return nil, status.Error(codes.AlreadyExists, err.Error())
	}
	if err := r.makeContainer(ctx, c); err != nil {
		cerr := r.dropContainer(context.WithoutCancel(ctx), c)
		if cerr != nil {
			r.log.Error("clean up after a container that could not be made", "container", id, "err", cerr)
		}
		r.release(name)
		return nil, fmt.Errorf("create container %s: %w", config.Metadata.Name, err)
	}
	r.mu.Lock()
	r.containers[id] = c
	r.mu.Unlock()
	r.tell(p, id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (r *Runtime) makeContainer(ctx context.Context, c *ctr) error {
	ref := c.config.GetImage().GetImage()
	imageID, cfg, err := r.deps.Images.Config(ctx, ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	data, err := proto.Marshal(c.config)
	if err != nil {
		return err
	}
	c.rec = ctrRecord{Version: 1, ID: c.id, Pod: c.pod.id, CreatedAt: time.Now().UnixNano(), Config: data,
		State: runtimeapi.ContainerState_CONTAINER_CREATED, ImageID: imageID, Image: cfg.Config}
	if dir := c.pod.config.LogDirectory; dir != "" && c.config.LogPath != "" {
		c.rec.LogPath = filepath.Join(dir, c.config.LogPath)
		if err := os.MkdirAll(filepath.Dir(c.rec.LogPath), 0o755); err != nil {
			return fmt.Errorf("log directory: %w", err)
		}
	}
	// What is wrong with the request shows before anything is made.
	if _, err := r.describe(c); err != nil {
		return err
	}
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		return err
	}
	root, err := r.deps.Images.Prepare(ctx, c.id, imageID)
	if err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	c.rec.Root = rootOf(root)
	if err := r.imageVolumes(ctx, c); err != nil {
		return err
	}
	return r.saveCtr(c)
}

func rootOf(root image.Rootfs) oci.Root {
	return oci.Root{Lower: root.Lower, Upper: root.Upper, Work: root.Work}
}

// imageVolumes lays out the volumes of a container that are images.
func (r *Runtime) imageVolumes(ctx context.Context, c *ctr) error {
	for i, m := range container.ImageMounts(c.config) {
		key := c.id + "-image-" + strconv.Itoa(i)
		root, err := r.deps.Images.Prepare(ctx, key, m.Image.Image)
		if err != nil {
			return fmt.Errorf("image volume %s: %w", m.ContainerPath, err)
		}
		c.rec.ImageKeys = append(c.rec.ImageKeys, key)
		c.rec.Images = append(c.rec.Images, oci.ImageMount{Target: m.ContainerPath, Lower: root.Lower, SubPath: m.ImageSubPath})
	}
	return nil
}

// describe makes what an OCI runtime needs to know of a container.
func (r *Runtime) describe(c *ctr) (*oci.Container, error) {
	in := container.Input{Config: c.config, Pod: c.pod.config, Image: c.rec.Image, Files: r.files(c.pod), AppArmor: r.apparmor}
	spec, user, err := container.Spec(in)
	if err != nil {
		return nil, err
	}
	ids, err := container.IDs(c.pod.config)
	if err != nil {
		return nil, err
	}
	mode, target := container.PIDMode(c.config, c.pod.config)
	return &oci.Container{
		ID: c.id, Dir: c.dir, Spec: spec, User: user, Root: c.rec.Root, Images: c.rec.Images,
		Cgroup: r.group(c), Log: c.rec.LogPath, Stdin: c.config.Stdin, StdinOnce: c.config.StdinOnce,
		PIDMode: mode, PIDTarget: target, CgroupNS: container.OwnCgroupNS(c.config), IDs: ids,
	}, nil
}

// description is describe, remembered.
func (r *Runtime) description(c *ctr) (*oci.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.oci != nil {
		return c.oci, nil
	}
	d, err := r.describe(c)
	if err == nil {
		c.oci = d
	}
	return d, err
}

// files are the pod's files as its containers see them.
func (r *Runtime) files(p *pod) container.Files {
	f := container.Files{ResolvConf: p.paths.ResolvConf, Hostname: p.paths.Hostname, SHM: p.paths.SHM}
	if sandbox.HostIPC(p.config) {
		f.SHM = "/dev/shm"
	}
	return f
}
