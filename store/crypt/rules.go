package crypt

import (
	"bytes"
	"context"
	"errors"
)

// mark begins every encrypted value.
var mark = []byte("k8s:enc:")

// provider is one way to encrypt, with its prefix: "k8s:enc:aesgcm:v1:key1:".
type provider struct {
	prefix []byte
	cipher transformer
}

// transformer encrypts and decrypts what follows the prefix. stale says that it is not what the transformer would write today.
type transformer interface {
	seal(ctx context.Context, plain []byte, key string) ([]byte, error)
	open(ctx context.Context, sealed []byte, key string) (plain []byte, stale bool, err error)
}

// chain is the providers of one rule: the first writes, all read.
type chain []provider

// identity is the chain of what no rule names.
var identity = chain{{nil, plainText{}}}

// Rules says which providers encrypt which resources.
type Rules struct {
	exact     map[Resource]chain
	group     map[string]chain // "*.apps"
	all       chain            // "*.*"
	kms       []*kms
	resources []string // as the file names them
}

func (r *Rules) of(res Resource) chain {
	if c, ok := r.exact[res]; ok {
		return c
	}
	if c, ok := r.group[res.Group]; ok {
		return c
	}
	if r.all != nil {
		return r.all
	}
	return identity
}

// plain says that a resource's rule, or none, never writes or reads anything encrypted.
func (r *Rules) plain(res Resource) bool {
	c := r.of(res)
	return len(c) == 1 && len(c[0].prefix) == 0
}

// Resources are the resources that the rules name, as the file has them.
func (r *Rules) Resources() []string { return r.resources }

func (c chain) seal(ctx context.Context, plain []byte, key string) ([]byte, error) {
	first := c[0]
	sealed, err := first.cipher.seal(ctx, plain, key)
	if err != nil || len(first.prefix) == 0 {
		return sealed, err
	}
	return append(bytes.Clone(first.prefix), sealed...), nil
}

func (c chain) open(ctx context.Context, value []byte, key string) (plain []byte, stale bool, err error) {
	var errs []error
	for i, p := range c {
		rest, ok := bytes.CutPrefix(value, p.prefix)
		if !ok {
			continue
		}
		plain, stale, err := p.cipher.open(ctx, rest, key)
		if err == nil {
			return plain, stale || i > 0, nil
		}
		// A later provider may have the same prefix and another key; and what is encrypted is not for identity.
		if len(p.prefix) > 0 || len(c) == 1 {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, false, errors.Join(errs...)
	}
	return nil, false, errors.New("no matching prefix found")
}

// plainText writes values as they are.
type plainText struct{}

func (plainText) seal(_ context.Context, plain []byte, _ string) ([]byte, error) { return plain, nil }

func (plainText) open(_ context.Context, value []byte, _ string) ([]byte, bool, error) {
	if bytes.HasPrefix(value, mark) {
		return nil, false, errors.New("identity transformer tried to read encrypted data")
	}
	return value, false, nil
}
