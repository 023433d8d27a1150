package imagegc

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/prom"
	"proa.dev/kubelet/cri"
)

func TestPlan(t *testing.T) {
	now := time.Unix(10000, 0)
	image := func(id string, size uint64, pinned bool, tags ...string) *runtimeapi.Image {
		return &runtimeapi.Image{Id: id, Size: size, Pinned: pinned, RepoTags: tags}
	}
	images := []*runtimeapi.Image{
		image("a", 10, false), image("b", 10, false, "b:1"), image("c", 10, true), image("d", 10, false), image("e", 10, false), image("f", 10, false),
	}
	ago := func(found, used int) times {
		return times{now.Add(-time.Duration(found) * time.Minute), now.Add(-time.Duration(used) * time.Minute)}
	}
	seen := map[string]times{"a": ago(50, 10), "b": ago(50, 0), "c": ago(50, 50), "d": ago(50, 20), "e": ago(1, 1), "f": ago(60, 20)}
	used := map[string]bool{"b:1": true}
	for need, want := range map[int64][]string{5: {"f"}, 15: {"f", "d"}, 1000: {"f", "d", "a"}} {
		var got []string
		for _, i := range (Policy{}).Complete().plan(images, used, seen, need, now) {
			got = append(got, i.Id)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("need %d: %s", need, d)
		}
	}
	// By age alone, by age and more, and what is younger than allowed.
	for _, c := range []struct {
		policy Policy
		need   int64
		want   []string
	}{
		{Policy{}, 0, nil},
		{Policy{MaxAge: 15 * time.Minute}, 0, []string{"f", "d"}},
		{Policy{MaxAge: 15 * time.Minute}, 25, []string{"f", "d", "a"}},
		{Policy{MaxAge: 15 * time.Minute, MinAge: 55 * time.Minute}, 0, []string{"f"}},
		{Policy{MinAge: time.Second}, 1000, []string{"f", "d", "a", "e"}},
	} {
		var got []string
		for _, i := range c.policy.Complete().plan(images, used, seen, c.need, now) {
			got = append(got, i.Id)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%+v, need %d: %s", c.policy, c.need, d)
		}
	}
}

// one is images of which all are unused.
type one struct {
	cri.Images
	cri.Runtime
	ids []string
}

func (o *one) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	r := &runtimeapi.ListImagesResponse{}
	for _, id := range o.ids {
		r.Images = append(r.Images, &runtimeapi.Image{Id: id, Size: 1})
	}
	return r, nil
}

func (o *one) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{}, nil
}

func (o *one) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}

func (o *one) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	o.ids = slices.DeleteFunc(o.ids, func(id string) bool { return id == r.GetImage().GetImage() })
	return &runtimeapi.RemoveImageResponse{}, nil
}

func TestRemovalsAreCounted(t *testing.T) {
	o := &one{ids: []string{"a", "b", "c"}}
	c := New(o, o, Policy{MaxAge: time.Hour}, slog.New(slog.DiscardHandler))
	now := time.Unix(100000, 0)
	for _, at := range []time.Time{now, now.Add(2 * time.Hour)} {
		if err := c.Collect(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	o.ids = append(o.ids, "d")
	if err := c.Free(t.Context()); err != nil {
		t.Fatal(err)
	}
	var p prom.Page
	c.Page(&p)
	for _, want := range []string{`kubelet_image_garbage_collected_total{reason="age"} 3`, `kubelet_image_garbage_collected_total{reason="space"} 1`} {
		if !strings.Contains(p.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, &p)
		}
	}
}
