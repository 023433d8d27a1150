package cri

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/runtime/image"
	"proa.dev/runtime/registry"
)

// PullImage brings an image from its registry and answers with its ID. The error names the image, the registry and the
// reason in one sentence.
func (s *Images) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref := req.GetImage().GetImage()
	if ref == "" {
		return nil, status.Error(codes.InvalidArgument, "pull: no image name given")
	}
	auth, err := authOf(req.GetAuth())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("pull %s: %v", ref, err))
	}
	id, err := s.store.Pull(ctx, ref, auth, nil)
	if err != nil {
		return nil, imageStatus(err)
	}
	return &runtimeapi.PullImageResponse{ImageRef: id}, nil
}

// authOf reads credentials in either of CRI's forms; nil when there are none.
func authOf(a *runtimeapi.AuthConfig) (*image.Auth, error) {
	if a == nil {
		return nil, nil
	}
	out := image.Auth{
		Username:      a.GetUsername(),
		Password:      a.GetPassword(),
		IdentityToken: a.GetIdentityToken(),
		RegistryToken: a.GetRegistryToken(),
	}
	if a.GetAuth() != "" && out.Username == "" {
		b, err := base64.StdEncoding.DecodeString(strings.TrimRight(a.GetAuth(), "\x00"))
		if err != nil {
			return nil, errors.New("the credentials' auth field is not base64")
		}
		user, password, ok := strings.Cut(string(b), ":")
		if !ok {
			return nil, errors.New("the credentials' auth field is not user:password")
		}
		out.Username, out.Password = user, strings.Trim(password, "\x00")
	}
	if out == (image.Auth{}) {
		return nil, nil
	}
	return &out, nil
}

// registryCode is the gRPC code for what a registry answered.
func registryCode(err error) codes.Code {
	var refused *registry.Error
	var network net.Error
	switch {
	case errors.As(err, &refused):
		switch refused.Status {
		case http.StatusUnauthorized:
			return codes.Unauthenticated
		case http.StatusForbidden:
			return codes.PermissionDenied
		case http.StatusNotFound:
			return codes.NotFound
		case http.StatusTooManyRequests:
			return codes.ResourceExhausted
		}
		return codes.Unavailable
	case errors.As(err, &network):
		return codes.Unavailable
	}
	return codes.Unknown
}
