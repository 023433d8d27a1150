package imagegc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
)

// Policy says when images are removed. Zero values are Kubernetes' defaults.
type Policy struct {
	High   int           // percent of the disk that are used when it begins; 100: never; default 85
	Low    int           // and when it stops; default 80
	MinAge time.Duration // younger ones stay; default 2 minutes
	MaxAge time.Duration // those that nobody used for so long go, however much room there is; 0: they stay
}

// Complete fills the defaults in.
func (p Policy) Complete() Policy {
	p.High, p.Low, p.MinAge = cmp.Or(p.High, 85), cmp.Or(p.Low, 80), cmp.Or(p.MinAge, 2*time.Minute)
	return p
}

// interval is how often the disk is looked at.
const interval = 5 * time.Minute

// Collector removes unused images.
type Collector struct {
	// Left, if set before Run, is told which images are still there, by id, and when that was asked.
	Left func(ids []string, asked time.Time)

	runtime cri.Runtime
	images  cri.Images
	policy  Policy
	log     *slog.Logger
	disk    func(path string) (total, free int64, err error)
	seen    map[string]times // by image id
	removed prom.Counts[[1]string]
}

// times are when an image was first seen and last used.
type times struct{ found, used time.Time }

// New starts nothing.
func New(rt cri.Runtime, images cri.Images, p Policy, log *slog.Logger) *Collector {
	return &Collector{runtime: rt, images: images, policy: p.Complete(), log: log, disk: disk, seen: map[string]times{}}
}

// Run looks every 5 minutes until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-t.C:
			if err := c.Collect(ctx, now); err != nil && ctx.Err() == nil {
				c.log.Warn("images not collected", "err", err)
			}
		}
	}
}

// Collect looks once.
func (c *Collector) Collect(ctx context.Context, now time.Time) error {
	asked := time.Now()
	list, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return err
	}
	used, err := c.used(ctx)
	if err != nil {
		return err
	}
	c.note(list.GetImages(), used, now)
	need, err := c.excess(ctx)
	if err != nil {
		return err
	}
	why := func(i *runtimeapi.Image) string {
		if c.policy.old(c.seen[i.GetId()], now) {
			return "age"
		}
		return forSpace
	}
	return c.remove(ctx, list.GetImages(), c.policy.plan(list.GetImages(), used, c.seen, need, now), asked, why)
}

// forSpace is why an image goes that is not too old.
const forSpace = "space"

// old says whether nobody used an image for too long.
func (p Policy) old(t times, now time.Time) bool { return p.MaxAge > 0 && now.Sub(t.used) > p.MaxAge }

// Page says how many images were removed, and why.
func (c *Collector) Page(p *prom.Page) {
	c.removed.Page(p, "kubelet_image_garbage_collected_total", "[ALPHA] Images that were removed because the disk was full, or nobody had used them for too long.", [1]string{"reason"})
}

// remove removes those of all, which were there when it was asked, that have to go, and counts why.
func (c *Collector) remove(ctx context.Context, all, unwanted []*runtimeapi.Image, asked time.Time, why func(*runtimeapi.Image) string) error {
	left := map[string]bool{}
	for _, i := range all {
		left[i.GetId()] = true
	}
	var errs []error
	for _, i := range unwanted {
		c.log.Info("removing an unused image", "image", i.GetId(), "bytes", i.GetSize())
		_, err := c.images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: i.GetId()}})
		if err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", i.GetId(), err))
			continue
		}
		delete(left, i.GetId())
		c.removed.Add([1]string{why(i)}, 1)
	}
	if c.Left != nil {
		c.Left(slices.Collect(maps.Keys(left)), asked)
	}
	return errors.Join(errs...)
}

// used are the images of all containers, running or not, by id or reference.
func (c *Collector) used(ctx context.Context) (map[string]bool, error) {
	r, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, o := range r.GetContainers() {
		used[o.GetImageRef()], used[o.GetImageId()], used[o.GetImage().GetImage()] = true, true, true
	}
	delete(used, "")
	return used, nil
}

func inUse(i *runtimeapi.Image, used map[string]bool) bool {
	if used[i.GetId()] {
		return true
	}
	known := func(s string) bool { return used[s] }
	return slices.ContainsFunc(i.GetRepoTags(), known) || slices.ContainsFunc(i.GetRepoDigests(), known)
}

func (c *Collector) note(images []*runtimeapi.Image, used map[string]bool, now time.Time) {
	fresh := map[string]times{}
	for _, i := range images {
		t, ok := c.seen[i.GetId()]
		if !ok {
			t = times{found: now, used: now}
		}
		if inUse(i, used) {
			t.used = now
		}
		fresh[i.GetId()] = t
	}
	c.seen = fresh
}

// excess is how many bytes have to go; 0 while there is room.
func (c *Collector) excess(ctx context.Context) (int64, error) {
	r, err := c.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return 0, err
	}
	if len(r.GetImageFilesystems()) == 0 {
		return 0, nil
	}
	path := r.GetImageFilesystems()[0].GetFsId().GetMountpoint()
	total, free, err := c.disk(path)
	if err != nil || total == 0 {
		return 0, err
	}
	if c.policy.High >= 100 || (total-free)*100/total < int64(c.policy.High) {
		return 0, nil
	}
	return total*(100-int64(c.policy.Low))/100 - free, nil
}

// plan picks images to remove: unused, not pinned, not new, the longest unused first; those that are too old, and then until need bytes
// are free.
func (p Policy) plan(images []*runtimeapi.Image, used map[string]bool, seen map[string]times, need int64, now time.Time) []*runtimeapi.Image {
	var can []*runtimeapi.Image
	for _, i := range images {
		if !inUse(i, used) && !i.GetPinned() && now.Sub(seen[i.GetId()].found) >= p.MinAge {
			can = append(can, i)
		}
	}
	slices.SortFunc(can, func(a, b *runtimeapi.Image) int {
		x, y := seen[a.GetId()], seen[b.GetId()]
		return cmp.Or(x.used.Compare(y.used), x.found.Compare(y.found), cmp.Compare(a.GetId(), b.GetId()))
	})
	for n, i := range can {
		if need <= 0 && !p.old(seen[i.GetId()], now) {
			return can[:n]
		}
		need -= int64(i.GetSize())
	}
	return can
}

func disk(path string) (total, free int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("look at the disk of %s: %w", path, err)
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize, nil
}
