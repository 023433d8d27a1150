package podresources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	alpha "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"
)

// Socket is below the kubelet's directory.
const Socket = "pod-resources/kubelet.sock"

// How often the API answers, of all clients together.
const (
	perSecond = 100
	burst     = 10
)

// Source knows what containers have.
type Source interface {
	// Active are the pods of the node that are not over.
	Active() []*core.Pod
	// Has is what one container has.
	Has(*core.Pod, *core.Container) *api.ContainerResources
	// Allocatable is what there is for containers in all.
	Allocatable() *api.AllocatableResourcesResponse
}

// Serve answers on the socket below root until ctx ends, and counts what it answered.
func Serve(ctx context.Context, root string, s Source, answers *Answers) error {
	path := filepath.Join(root, Socket)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("serve pod resources: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an earlier life
		return fmt.Errorf("serve pod resources: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("serve pod resources: %w", err)
	}
	b := &bucket{left: burst, at: time.Now()}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, about *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if !b.take(time.Now()) {
			return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
		}
		resp, err := next(ctx, req)
		answers.add(about.FullMethod, err)
		return resp, err
	}))
	api.RegisterPodResourcesListerServer(server, &lister{s: s})
	alpha.RegisterPodResourcesListerServer(server, &oldLister{s: s})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	err = server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve pod resources: %w", err)
}

// bucket holds tokens; each answer takes one.
type bucket struct {
	mu   sync.Mutex // guards what follows
	left float64
	at   time.Time // when left was right
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+now.Sub(b.at).Seconds()*perSecond, burst)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

type lister struct {
	api.UnimplementedPodResourcesListerServer
	s Source
}

// List implements the service.
func (l *lister) List(context.Context, *api.ListPodResourcesRequest) (*api.ListPodResourcesResponse, error) {
	out := &api.ListPodResourcesResponse{}
	for _, p := range l.s.Active() {
		out.PodResources = append(out.PodResources, of(l.s, p))
	}
	return out, nil
}

// Get implements the service.
func (l *lister) Get(_ context.Context, r *api.GetPodResourcesRequest) (*api.GetPodResourcesResponse, error) {
	for _, p := range l.s.Active() {
		if p.Namespace == r.GetPodNamespace() && p.Name == r.GetPodName() {
			return &api.GetPodResourcesResponse{PodResources: of(l.s, p)}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", r.GetPodName(), r.GetPodNamespace())
}

// GetAllocatableResources implements the service.
func (l *lister) GetAllocatableResources(context.Context, *api.AllocatableResourcesRequest) (*api.AllocatableResourcesResponse, error) {
	return l.s.Allocatable(), nil
}

// of is what a pod has: its sidecars, then its containers.
func of(s Source, p *core.Pod) *api.PodResources {
	out := &api.PodResources{Name: p.Name, Namespace: p.Namespace}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways {
			out.Containers = append(out.Containers, s.Has(p, c))
		}
	}
	for i := range p.Spec.Containers {
		out.Containers = append(out.Containers, s.Has(p, &p.Spec.Containers[i]))
	}
	return out
}

// oldLister is the service as it was: devices only.
type oldLister struct {
	alpha.UnimplementedPodResourcesListerServer
	s Source
}

// List implements the service.
func (l *oldLister) List(context.Context, *alpha.ListPodResourcesRequest) (*alpha.ListPodResourcesResponse, error) {
	out := &alpha.ListPodResourcesResponse{}
	for _, p := range l.s.Active() {
		one := &alpha.PodResources{Name: p.Name, Namespace: p.Namespace}
		for _, c := range of(l.s, p).GetContainers() {
			has := &alpha.ContainerResources{Name: c.GetName()}
			for _, d := range c.GetDevices() {
				has.Devices = append(has.Devices, &alpha.ContainerDevices{ResourceName: d.GetResourceName(), DeviceIds: d.GetDeviceIds()})
			}
			one.Containers = append(one.Containers, has)
		}
		out.PodResources = append(out.PodResources, one)
	}
	return out, nil
}
