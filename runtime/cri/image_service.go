package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/image"
)

// Images is the image service of CRI v1 on an image store. An image's ID is the digest of its configuration in every
// answer. Methods that are not here answer codes.Unimplemented.
type Images struct {
	runtimeapi.UnimplementedImageServiceServer
	store *image.Store
}

// NewImages returns the service. It holds nothing of its own.
func NewImages(store *image.Store) *Images { return &Images{store: store} }

// describe is how CRI speaks of an image.
func (s *Images) describe(im image.Image, cfg ocispec.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id:          im.ID,
		RepoTags:    im.Tags,
		RepoDigests: im.Digests,
		Size:        uint64(max(im.Size, 1)),
		Pinned:      im.Pinned,
		Spec:        &runtimeapi.ImageSpec{Image: im.ID},
	}
	user, _, _ := strings.Cut(cfg.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// get finds an image and its configuration.
func (s *Images) get(ctx context.Context, ref string) (*runtimeapi.Image, ocispec.Image, error) {
	im, err := s.store.Get(ref)
	if err != nil {
		return nil, ocispec.Image{}, err
	}
	_, cfg, err := s.store.Config(ctx, im.ID)
	if err != nil {
		return nil, cfg, err
	}
	return s.describe(im, cfg), cfg, nil
}

// ListImages lists all images, or the one that the filter names.
func (s *Images) ListImages(ctx context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	list, err := s.list(ctx, req.GetFilter())
	if err != nil {
		return nil, imageStatus(err)
	}
	return &runtimeapi.ListImagesResponse{Images: list}, nil
}

func (s *Images) list(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := filter.GetImage().GetImage(); ref != "" {
		im, _, err := s.get(ctx, ref)
		if errors.Is(err, image.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []*runtimeapi.Image{im}, nil
	}
	var list []*runtimeapi.Image
	for _, im := range s.store.List() {
		_, cfg, err := s.store.Config(ctx, im.ID)
		if errors.Is(err, image.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s.describe(im, cfg))
	}
	return list, nil
}

// StreamImages is ListImages, some images at a time (KEP-5825).
func (s *Images) StreamImages(req *runtimeapi.StreamImagesRequest, stream runtimeapi.ImageService_StreamImagesServer) error {
	const step = 500
	list, err := s.list(stream.Context(), req.GetFilter())
	if err != nil {
		return imageStatus(err)
	}
	for len(list) > 0 {
		n := min(step, len(list))
		if err := stream.Send(&runtimeapi.StreamImagesResponse{Images: list[:n]}); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// ImageStatus describes one image. One that is not here is no error: the answer has no image. Verbose adds the
// configuration and where the image lies.
func (s *Images) ImageStatus(ctx context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	ref := req.GetImage().GetImage()
	im, cfg, err := s.get(ctx, ref)
	if errors.Is(err, image.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, imageStatus(err)
	}
	res := &runtimeapi.ImageStatusResponse{Image: im}
	if !req.GetVerbose() {
		return res, nil
	}
	full, err := s.store.Get(im.Id)
	if err != nil {
		return nil, imageStatus(err)
	}
	info, err := json.Marshal(map[string]any{
		"chainID":   full.Chain,
		"imageSpec": cfg,
		"manifest":  full.Manifest,
		"added":     full.Added.Format(time.RFC3339),
	})
	if err != nil {
		return nil, err
	}
	res.Info = map[string]string{"info": string(info)}
	return res, nil
}

// RemoveImage removes an image with all its names. One that is not here is no error.
func (s *Images) RemoveImage(ctx context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	if err := s.store.Remove(ctx, req.GetImage().GetImage()); err != nil {
		return nil, imageStatus(err)
	}
	return &runtimeapi.RemoveImageResponse{}, nil
}

// ImageFsInfo says what images take. Containers write to the same file system.
func (s *Images) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	u, err := s.store.Usage()
	if err != nil {
		return nil, imageStatus(err)
	}
	fs := []*runtimeapi.FilesystemUsage{{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: u.Root},
		UsedBytes:  &runtimeapi.UInt64Value{Value: uint64(u.Bytes)},
		InodesUsed: &runtimeapi.UInt64Value{Value: uint64(u.Inodes)},
	}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: fs, ContainerFilesystems: fs}, nil
}

// imageStatus gives an error the code that CRI clients look at. The text is what kubelet shows to users.
func imageStatus(err error) error {
	code := codes.Unknown
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, image.ErrNotFound):
		code = codes.NotFound
	default:
		code = registryCode(err)
	}
	return status.Error(code, fmt.Sprint(err))
}
