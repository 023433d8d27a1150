package owners

import (
	"bytes"
	"hash/maphash"
	"runtime"
	"sync"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostNames bounds the names of managers that are remembered: clients choose them.
const mostNames = 4096

// Shares holds each set of fields once for all objects that have it, as long as any of them does. All methods may be called at once.
type Shares struct {
	seed maphash.Seed

	mu    sync.Mutex // guards below
	sets  map[uint64]weak.Pointer[metav1.FieldsV1]
	names map[string]string
}

// NewShares makes one without anything in it.
func NewShares() *Shares {
	return &Shares{seed: maphash.MakeSeed(), sets: map[uint64]weak.Pointer[metav1.FieldsV1]{}, names: map[string]string{}}
}

// Fields is the one FieldsV1 with these bytes, which are copied if there is none yet. It is frozen.
func (s *Shares) Fields(raw []byte) *metav1.FieldsV1 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fields(raw)
}

func (s *Shares) fields(raw []byte) *metav1.FieldsV1 {
	sum := maphash.Bytes(s.seed, raw)
	was := s.sets[sum].Value()
	if was != nil && bytes.Equal(was.GetRawBytes(), raw) {
		return was
	}
	f := &metav1.FieldsV1{}
	f.SetRawBytes(raw)
	if was == nil { // else two sets have one sum, and the second is not shared
		s.sets[sum] = weak.Make(f)
		runtime.AddCleanup(f, s.drop, sum)
	}
	return f
}

// drop forgets a set that nobody has any more.
func (s *Shares) drop(sum uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets[sum].Value() == nil {
		delete(s.sets, sum)
	}
}

func (s *Shares) name(name string) string {
	if one, ok := s.names[name]; ok {
		return one
	}
	if len(s.names) < mostNames {
		s.names[name] = name
	}
	return name
}

// Share has entries, which belong to the caller, use what others have already.
func (s *Shares) Share(entries []metav1.ManagedFieldsEntry) {
	if len(entries) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		if e.FieldsV1 != nil {
			e.FieldsV1 = s.fields(e.FieldsV1.GetRawBytes())
		}
		e.Manager, e.APIVersion, e.Subresource = s.name(e.Manager), s.name(e.APIVersion), s.name(e.Subresource)
		e.FieldsType, e.Operation = s.name(e.FieldsType), metav1.ManagedFieldsOperationType(s.name(string(e.Operation)))
	}
}
