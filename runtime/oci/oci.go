package oci

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"proa.dev/runtime/cgroup"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
)

// Runtime makes containers. Vocabulary: a container is created (its process exists in its namespaces and cgroup, and waits
// before the user's program), then started, then ends; Delete takes back what Create made outside of the process. All
// methods may be called at the same time for different containers.
//
// Errors of Create and Start are what the user reads when a container cannot run, such as
// `exec: "nope": executable file not found in $PATH`.
type Runtime interface {
	// Create takes the container up to the point before its program. On an error nothing of it is left.
	Create(ctx context.Context, k *keeper.Keeper, c *Container) (wire.Created, error)

	// Start lets a created container run its program. On an error the container is gone, and Delete is still to be called.
	Start(ctx context.Context, k *keeper.Keeper, c *Container) (wire.State, error)

	// Exec runs one more process in a running container and connects it.
	Exec(ctx context.Context, k *keeper.Keeper, c *Container, p Process) (*keeper.Streams, error)

	// Delete removes what is left of a container that has ended. It may be repeated.
	Delete(ctx context.Context, c *Container) error
}

// Container is everything a Runtime needs to know of one container.
type Container struct {
	ID   string
	Dir  string // the container's own directory, which the Runtime may fill
	Spec *specs.Spec
	User wire.User // looked up in the container's own files; Spec.Process.User is filled from it
	Root Root

	Cgroup    *cgroup.Group
	Log       string // path of the CRI log, or empty
	Stdin     bool
	StdinOnce bool

	PIDMode   uint64 // wire.PIDOwn and so on; the pod's other namespaces are the keeper's
	PIDTarget string
	CgroupNS  bool

	Images []ImageMount

	IDs wire.IDMap // the pod's user namespace
}

// Root is where a container's root file system comes from.
type Root struct {
	Lower       []string // layers, top first
	Upper, Work string
	Dir         string // instead of layers: a directory used as it is
}

// ImageMount is a volume that is an image, mounted read-only.
type ImageMount struct {
	Target  string
	Lower   []string
	SubPath string
	Attr    uint64 // MOUNT_ATTR_* beside read-only
}

// Process is an additional process of a container. What is not said here is as in the container's own process.
type Process struct {
	Args          []string
	TTY, Stdin    bool
	Width, Height uint64
}
