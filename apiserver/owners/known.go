package owners

import (
	"reflect"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostKnown bounds the bytes of sets of one type that are remembered, twice: the sets that were used last, and those before.
const mostKnown = 256 << 10

// known remembers sets of fields of one type: most writes meet the sets that others have met.
type known struct {
	root *plan
	zero reflect.Value // frozen

	mu        sync.Mutex // guards below
	young     map[string]*remembered
	old       map[string]*remembered // dropped when young is full, and takes its place
	youngSize int
}

// remembered is one set in both forms.
type remembered struct {
	set    set
	fields *metav1.FieldsV1
	same   bool // fields is as we would write set
}

func (t *Tracker) knownOf(kind reflect.Type) *known {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[kind]
	if k == nil {
		k = &known{root: t.plans.of(kind), zero: reflect.New(kind).Elem(), young: map[string]*remembered{}}
		t.known[kind] = k
	}
	return k
}

// find is what is remembered of raw.
func (k *known) find(raw []byte) *remembered {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.young[string(raw)]; r != nil {
		return r
	}
	r := k.old[string(raw)]
	if r != nil {
		k.add(string(raw), r)
	}
	return r
}

// keep remembers a set.
func (k *known) keep(raw string, r *remembered) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.add(raw, r)
}

// add is keep with the lock held.
func (k *known) add(raw string, r *remembered) {
	if k.youngSize += len(raw); k.youngSize > mostKnown {
		k.old, k.young, k.youngSize = k.young, map[string]*remembered{}, len(raw)
	}
	k.young[raw] = r
}

// read is the set that f stands for. The second result is f as it may be stored again, or nil if it is to be written anew.
func (t *Tracker) read(k *known, f *metav1.FieldsV1) (set, *metav1.FieldsV1, error) {
	raw := f.GetRawBytes()
	r := k.find(raw)
	if r == nil {
		s, same, err := parse(raw)
		if err != nil {
			return nil, nil, err
		}
		now, differs := t.reconcile(k.root, s)
		r = &remembered{set: now, same: same && !differs, fields: f}
		if r.same {
			r.fields = t.shares.Fields(raw)
		}
		k.keep(string(raw), r)
	}
	if !r.same {
		return r.set, nil, nil
	}
	return r.set, r.fields, nil
}

// write is a set as it is stored.
func (t *Tracker) write(k *known, s set) *metav1.FieldsV1 {
	w := t.walkers.Get().(*walker)
	defer t.walkers.Put(w)
	w.buf = appendSet(w.buf[:0], s)
	if r := k.find(w.buf); r != nil && r.same {
		return r.fields
	}
	r := &remembered{set: s, same: true, fields: t.shares.Fields(w.buf)}
	k.keep(string(w.buf), r)
	return r.fields
}

// reconcile is a set, which may have been written when the type was another one, as the type is today: what is owned as a whole now has
// nothing under it.
func (t *Tracker) reconcile(p *plan, s set) (out set, differs bool) {
	for i := range s {
		e := s[i]
		under := t.under(p, &e)
		if under == nil || len(e.sub) == 0 {
			continue
		}
		less := under.atomic && (under.shape == list || under.shape >= structure)
		if less {
			e.sub, e.member = nil, true
		} else {
			e.sub, less = t.reconcile(under, e.sub)
		}
		if less {
			if !differs {
				out, differs = append(set(nil), s...), true
			}
			out[i] = e
		}
	}
	if !differs {
		return s, false
	}
	return out, true
}

// under is the plan of an element; nil if the type has none such.
func (t *Tracker) under(p *plan, e *element) *plan {
	switch p.shape {
	case structure:
		if e.kind != field {
			return nil
		}
		if q := partOf(t.plans.load(p.parts), e.text); q != nil {
			return q.plan
		}
	case dict, texts, resources, list:
		return p.elem
	}
	return nil
}
