package crypt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Times and bounds of KMS v2 (KEP-3299).
const (
	healthyFor    = time.Minute      // between two questions for the status
	unhealthyFor  = 10 * time.Second // the same, while the plugin is ill
	writableFor   = 3 * time.Minute  // a seed may be written with so long after the last good status
	maxKeyID      = 1 << 10
	maxSource     = 1 << 10
	maxAnnotation = 32 << 10
	maxSeeds      = 1000 // seeds kept for reading
)

// service is a KMS plugin: its three calls.
type service interface {
	Status(ctx context.Context) (version, health, keyID string, err error)
	Encrypt(ctx context.Context, plain []byte) (sealed []byte, keyID string, annotations map[string][]byte, err error)
	Decrypt(ctx context.Context, sealed []byte, keyID string, annotations map[string][]byte) ([]byte, error)
}

// kms encrypts with seeds that a KMS plugin encrypts. The plugin is asked when a seed is made (at the start, and when its key changes) and
// when one is read for the first time; not for every value.
type kms struct {
	name    string
	service service
	now     func() time.Time

	state  atomic.Pointer[seedState]
	asking sync.Mutex // held while the plugin is asked for its status; guards last and at
	last   error
	at     time.Time  // of last
	mu     sync.Mutex // guards seeds
	seeds  map[string]transformer
}

// seedState is the seed that is written with.
type seedState struct {
	cipher  transformer
	message envelope // without data
	until   time.Time
}

// envelope is the protobuf message EncryptedObject.
type envelope struct {
	data        []byte
	keyID       string
	source      []byte // the encrypted seed
	annotations map[string][]byte
	kind        uint64 // 0: source is the key itself; 1: a seed for HKDF
}

func newKMS(name string, s service) *kms {
	return &kms{name: name, service: s, now: time.Now, seeds: map[string]transformer{}}
}

// check asks for the status, unless that is fresh, and makes a new seed if the plugin's key has changed. It is the health check, too.
func (k *kms) check(ctx context.Context) error {
	k.asking.Lock()
	defer k.asking.Unlock()
	return k.checkHeld(ctx)
}

// checkHeld is check for who holds asking.
func (k *kms) checkHeld(ctx context.Context) error {
	fresh := healthyFor
	if k.last != nil {
		fresh = unhealthyFor
	}
	if !k.at.IsZero() && k.now().Sub(k.at) < fresh {
		return k.last
	}
	k.last = k.ask(ctx)
	k.at = k.now()
	return k.last
}

// ask is check without its memory. The caller holds asking.
func (k *kms) ask(ctx context.Context) error {
	version, health, keyID, err := k.service.Status(ctx)
	if err != nil {
		return fmt.Errorf("failed to perform status section of the healthz check for KMS Provider %s, error: %w", k.name, err)
	}
	var errs []error
	if health != "ok" {
		errs = append(errs, fmt.Errorf("got unexpected healthz status: %s", health))
	}
	if version != "v2" && version != "v2beta1" {
		errs = append(errs, fmt.Errorf("expected KMSv2 API version v2, got %s", version))
	}
	if keyID == "" || len(keyID) > maxKeyID {
		errs = append(errs, fmt.Errorf("got invalid KMSv2 KeyID of %d bytes", len(keyID)))
	} else if err := k.renew(ctx, keyID); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return fmt.Errorf("kmsv2 Provider %s is not healthy, error: %w", k.name, errors.Join(errs...))
	}
	return nil
}

// renew makes a seed if there is none of the plugin's key, or keeps the one there is for longer.
func (k *kms) renew(ctx context.Context, keyID string) error {
	until := k.now().Add(writableFor)
	if st := k.state.Load(); st != nil && st.message.keyID == keyID {
		next := *st
		next.until = until
		k.state.Store(&next)
		return nil
	}
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed) // it never fails: it ends the process instead
	sealed, usedID, annotations, err := k.service.Encrypt(ctx, seed)
	if err != nil {
		return fmt.Errorf("encrypt a new seed: %w", err)
	}
	if usedID != keyID {
		return fmt.Errorf("the plugin's status names the key %q, and it encrypts with %q", keyID, usedID)
	}
	m := envelope{keyID: usedID, source: sealed, annotations: annotations, kind: 1, data: []byte{0}}
	if err := m.check(); err != nil {
		return err
	}
	m.data = nil
	cipher, err := newDerived(seed)
	if err != nil {
		return err
	}
	k.state.Store(&seedState{cipher, m, until})
	k.keep(m.seedKey(), cipher)
	return nil
}

// keep remembers a seed for reading.
func (k *kms) keep(id string, t transformer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.seeds) >= maxSeeds {
		for old := range k.seeds { // any: it can be asked for again
			delete(k.seeds, old)
			break
		}
	}
	k.seeds[id] = t
}

// writable is the seed to write with. Writes are what asks for the status again, so that nothing does while nobody writes: one of them, once
// a minute, and the others do not wait for it as long as the seed is good.
func (k *kms) writable(ctx context.Context) (*seedState, error) {
	st, now := k.state.Load(), k.now()
	if st != nil && now.Before(st.until.Add(healthyFor-writableFor)) {
		return st, nil
	}
	if st == nil || now.After(st.until) {
		if err := k.check(ctx); err != nil {
			return nil, err
		}
	} else if k.asking.TryLock() {
		_ = k.checkHeld(ctx) // the health check tells; the seed is good for a while
		k.asking.Unlock()
	}
	if st = k.state.Load(); st == nil || now.After(st.until) {
		return nil, fmt.Errorf("the seed of KMS provider %s has expired", k.name)
	}
	return st, nil
}

func (k *kms) seal(ctx context.Context, plain []byte, key string) ([]byte, error) {
	st, err := k.writable(ctx)
	if err != nil {
		return nil, err
	}
	data, err := st.cipher.seal(ctx, plain, key)
	if err != nil {
		return nil, err
	}
	m := st.message
	m.data = data
	return m.append(nil), nil
}

func (k *kms) open(ctx context.Context, sealed []byte, key string) ([]byte, bool, error) {
	m, err := parseEnvelope(sealed)
	if err != nil {
		return nil, false, err
	}
	id := m.seedKey()
	k.mu.Lock()
	t := k.seeds[id]
	k.mu.Unlock()
	if t == nil {
		secret, err := k.service.Decrypt(ctx, m.source, m.keyID, m.annotations)
		if err != nil {
			return nil, false, fmt.Errorf("failed to decrypt DEK, error: %w", err)
		}
		if m.kind == 1 {
			t, err = newDerived(secret)
		} else {
			t, err = newGCM(secret)
		}
		if err != nil {
			return nil, false, err
		}
		k.keep(id, t)
	}
	plain, _, err := t.open(ctx, m.data, key)
	st := k.state.Load()
	return plain, st == nil || st.message.keyID != m.keyID || m.kind != 1, err
}

func (m *envelope) check() error {
	size := 0
	for name, v := range m.annotations {
		size += len(name) + len(v)
	}
	switch {
	case m.kind > 1:
		return fmt.Errorf("unknown encryptedDEKSourceType: %d", m.kind)
	case len(m.data) == 0:
		return errors.New("encrypted data is empty")
	case len(m.source) == 0:
		return errors.New("failed to validate encrypted DEK source: encrypted DEK source is empty")
	case len(m.source) > maxSource:
		return fmt.Errorf("failed to validate encrypted DEK source: encrypted DEK source is %d bytes, which exceeds the max size of %d", len(m.source), maxSource)
	case m.keyID == "" || len(m.keyID) > maxKeyID:
		return fmt.Errorf("failed to validate key id: it has %d bytes", len(m.keyID))
	case size > maxAnnotation:
		return fmt.Errorf("failed to validate annotations: total size of annotations is %d, which exceeds the max size of %d", size, maxAnnotation)
	}
	return nil
}

// seedKey tells seeds apart: the encrypted seed, its key and its kind. Length first, so that no two read the same.
func (m *envelope) seedKey() string {
	return fmt.Sprintf("%d:%d:%s:%s:%v", m.kind, len(m.keyID), m.keyID, m.source, m.annotations)
}

func (m *envelope) append(b []byte) []byte {
	b = appendBytes(b, 1, m.data)
	b = appendBytes(b, 2, []byte(m.keyID))
	b = appendBytes(b, 3, m.source)
	b = appendMap(b, 4, m.annotations)
	if m.kind != 0 {
		b = protowire.AppendTag(b, 5, protowire.VarintType)
		b = protowire.AppendVarint(b, m.kind)
	}
	return b
}

func parseEnvelope(b []byte) (m envelope, err error) {
	err = fields(b, func(n protowire.Number, v []byte, x uint64) error {
		switch n {
		case 1:
			m.data = v
		case 2:
			m.keyID = string(v)
		case 3:
			m.source = v
		case 4:
			return addEntry(&m.annotations, v)
		case 5:
			m.kind = x
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	return m, m.check()
}
