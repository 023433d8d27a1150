package network

import (
	"context"
	"errors"

	"proa.dev/network/cni"
	"proa.dev/network/route"
	"proa.dev/network/service"
)

// Cleanup removes everything that the parts of the network made on the node: the service tables, the pods' network and the
// routes, which go last. The address of DNS goes with the bridge (or with dns.Local.Cleanup, where it stands on another link).
// Nothing of it may be in use. It acts on the network namespace of the calling thread.
func Cleanup(ctx context.Context, cfg cni.Config) error {
	return errors.Join(service.Cleanup(ctx), cni.Cleanup(ctx, cfg), route.Cleanup(ctx))
}

// Leftovers lists what Cleanup would remove, one line a thing, for people.
func Leftovers(cfg cni.Config) ([]string, error) {
	tables, err1 := service.Leftovers()
	pods, err2 := cni.Leftovers(cfg)
	routes, err3 := route.Leftovers()
	return append(append(tables, pods...), routes...), errors.Join(err1, err2, err3)
}
