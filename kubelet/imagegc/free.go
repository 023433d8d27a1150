package imagegc

import (
	"context"
	"errors"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Free removes every image that no container uses and that is not pinned, however young: the disk is short now.
func (c *Collector) Free(ctx context.Context) error {
	list, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	used, err := c.used(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range list.GetImages() {
		if inUse(i, used) || i.GetPinned() {
			continue
		}
		c.log.Info("removing an unused image, the disk is short", "image", i.GetId(), "bytes", i.GetSize())
		_, err := c.images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: i.GetId()}})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", i.GetId(), err))
		}
	}
	return errors.Join(errs...)
}
