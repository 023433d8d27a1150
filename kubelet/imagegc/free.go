package imagegc

import (
	"context"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Free removes every image that no container uses and that is not pinned, however young: the disk is short now.
func (c *Collector) Free(ctx context.Context) error {
	asked := time.Now()
	list, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	used, err := c.used(ctx)
	if err != nil {
		return err
	}
	all := list.GetImages()
	unwanted := slices.DeleteFunc(slices.Clone(all), func(i *runtimeapi.Image) bool { return inUse(i, used) || i.GetPinned() })
	return c.remove(ctx, all, unwanted, asked, func(*runtimeapi.Image) string { return forSpace })
}
