package crypt

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// plugin is a KMS v2 plugin behind a unix socket: gRPC service v2.KeyManagementService.
type plugin struct {
	conn    *grpc.ClientConn
	timeout time.Duration
}

const pluginService = "/v2.KeyManagementService/"

func dialPlugin(endpoint string, timeout time.Duration) (*plugin, error) {
	path := strings.TrimPrefix(endpoint, "unix://")
	if name, ok := strings.CutPrefix(path, "/@"); ok {
		path = "@" + name // an abstract socket
	}
	conn, err := grpc.NewClient("passthrough:///kms", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(false)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return nil, fmt.Errorf("kms plugin %s: %w", endpoint, err)
	}
	return &plugin{conn, timeout}, nil
}

func (p *plugin) call(ctx context.Context, method string, request []byte, f func(n protowire.Number, v []byte, x uint64) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var answer []byte
	if err := p.conn.Invoke(ctx, pluginService+method, request, &answer); err != nil {
		return err
	}
	return fields(answer, f)
}

// Status implements service.
func (p *plugin) Status(ctx context.Context) (version, health, keyID string, err error) {
	err = p.call(ctx, "Status", nil, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			version = string(v)
		case 2:
			health = string(v)
		case 3:
			keyID = string(v)
		}
		return nil
	})
	return version, health, keyID, err
}

// Encrypt implements service.
func (p *plugin) Encrypt(ctx context.Context, plain []byte) (sealed []byte, keyID string, annotations map[string][]byte, err error) {
	request := appendBytes(nil, 1, plain)
	request = appendBytes(request, 2, []byte(rand.Text()))
	err = p.call(ctx, "Encrypt", request, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			sealed = v
		case 2:
			keyID = string(v)
		case 3:
			return addEntry(&annotations, v)
		}
		return nil
	})
	return sealed, keyID, annotations, err
}

// Decrypt implements service.
func (p *plugin) Decrypt(ctx context.Context, sealed []byte, keyID string, annotations map[string][]byte) (plain []byte, err error) {
	request := appendBytes(nil, 1, sealed)
	request = appendBytes(request, 2, []byte(rand.Text()))
	request = appendBytes(request, 3, []byte(keyID))
	request = appendMap(request, 4, annotations)
	err = p.call(ctx, "Decrypt", request, func(n protowire.Number, v []byte, _ uint64) error {
		if n == 1 {
			plain = v
		}
		return nil
	})
	return plain, err
}

// rawCodec passes the bytes of messages through.
type rawCodec struct{}

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	*to = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }
