package crypt

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"crypto/hkdf"

	"golang.org/x/crypto/nacl/secretbox"
)

var errShort = errors.New("the stored data was shorter than the required size")

// gcm is AES-GCM with a random nonce in front. The store's key is authenticated.
type gcm struct{ aead cipher.AEAD }

func newGCM(key []byte) (transformer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return gcm{aead}, err
}

func (g gcm) seal(_ context.Context, plain []byte, key string) ([]byte, error) {
	n := g.aead.NonceSize()
	out := make([]byte, n, n+len(plain)+g.aead.Overhead())
	_, _ = rand.Read(out) // it never fails: it ends the process instead
	return g.aead.Seal(out, out[:n], plain, []byte(key)), nil
}

func (g gcm) open(_ context.Context, sealed []byte, key string) ([]byte, bool, error) {
	n := g.aead.NonceSize()
	if len(sealed) < n {
		return nil, false, errShort
	}
	plain, err := g.aead.Open(nil, sealed[:n], sealed[n:], []byte(key))
	return plain, false, err
}

// cbc is AES-CBC with a random initial vector in front and PKCS #7 padding. It authenticates nothing, and is here for data that has it.
type cbc struct{ block cipher.Block }

func newCBC(key []byte) (transformer, error) {
	block, err := aes.NewCipher(key)
	return cbc{block}, err
}

func (c cbc) seal(_ context.Context, plain []byte, _ string) ([]byte, error) {
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	out := make([]byte, aes.BlockSize, aes.BlockSize+len(plain)+pad)
	_, _ = rand.Read(out) // it never fails: it ends the process instead
	out = append(out, plain...)
	out = append(out, bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(c.block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], out[aes.BlockSize:])
	return out, nil
}

func (c cbc) open(_ context.Context, sealed []byte, _ string) ([]byte, bool, error) {
	if len(sealed) < aes.BlockSize {
		return nil, false, errShort
	}
	iv, rest := sealed[:aes.BlockSize], sealed[aes.BlockSize:]
	if len(rest)%aes.BlockSize != 0 {
		return nil, false, errors.New("the stored data is not a multiple of the block size")
	}
	if len(rest) == 0 {
		return nil, false, errors.New("invalid PKCS7 data (empty or not padded)")
	}
	out := make([]byte, len(rest))
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(out, rest)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > len(out) || !bytes.Equal(out[len(out)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, false, errors.New("invalid padding on input")
	}
	return out[:len(out)-pad], false, nil
}

// box is NaCl's secretbox: XSalsa20 and Poly1305, with a random nonce in front.
type box struct{ key [32]byte }

func newBox(key []byte) (transformer, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("expected key size 32 for secretbox provider, got %v", len(key))
	}
	return box{[32]byte(key)}, nil
}

const boxNonce = 24

func (b box) seal(_ context.Context, plain []byte, _ string) ([]byte, error) {
	var nonce [boxNonce]byte
	_, _ = rand.Read(nonce[:]) // it never fails: it ends the process instead
	return secretbox.Seal(nonce[:], plain, &nonce, &b.key), nil
}

func (b box) open(_ context.Context, sealed []byte, _ string) ([]byte, bool, error) {
	if len(sealed) < boxNonce+secretbox.Overhead {
		return nil, false, errShort
	}
	nonce := [boxNonce]byte(sealed)
	plain, ok := secretbox.Open(nil, sealed[boxNonce:], &nonce, &b.key)
	if !ok {
		return nil, false, errors.New("the stored data is not what this key has encrypted")
	}
	return plain, false, nil
}

// seedSize is that of a seed, and of what makes each value's key of it.
const seedSize = 32

// derived is AES-GCM with a key of its own for every value: HKDF of a seed and of 32 random bytes in front of the value, so that no number
// of values wears the seed out.
type derived struct{ seed []byte }

func newDerived(seed []byte) (transformer, error) {
	if len(seed) < seedSize {
		return nil, fmt.Errorf("invalid seed length %d used for key generation", len(seed))
	}
	return derived{seed}, nil
}

func (d derived) with(info []byte) (transformer, error) {
	key, err := hkdf.Expand(sha256.New, d.seed, string(info), seedSize)
	if err != nil {
		return nil, err
	}
	return newGCM(key)
}

func (d derived) seal(ctx context.Context, plain []byte, key string) ([]byte, error) {
	info := make([]byte, seedSize)
	_, _ = rand.Read(info) // it never fails: it ends the process instead
	t, err := d.with(info)
	if err != nil {
		return nil, err
	}
	sealed, err := t.seal(ctx, plain, key)
	return append(info, sealed...), err
}

func (d derived) open(ctx context.Context, sealed []byte, key string) ([]byte, bool, error) {
	if len(sealed) < seedSize {
		return nil, false, errShort
	}
	t, err := d.with(sealed[:seedSize])
	if err != nil {
		return nil, false, err
	}
	return t.open(ctx, sealed[seedSize:], key)
}
