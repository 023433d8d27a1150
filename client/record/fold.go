package record

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The limits are those of Kubernetes' event correlator.
const (
	similarMax    = 10               // so many different messages of one reason, then they are folded into one Event
	similarWindow = 10 * time.Minute // ... when they come within this time
	burst         = 25               // events of one object before it is cut off
	refill        = 5 * time.Minute  // ... and gets one more
	maxRemembered = 4096             // entries of each map, all forgotten when it is full
)

// similar is what events share that may be folded into one.
type similar struct {
	component                   string
	uid                         types.UID
	kind, namespace, name, part string
	typ, reason                 string
}

type exact struct {
	similar
	message string
}

// series is one Event in the API and the times that it happened.
type series struct {
	name    string // of the Event; empty until it is written
	message string
	count   int32
	first   time.Time
}

type group struct {
	messages map[string]bool
	last     time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// folder remembers recent events. It is used by one goroutine.
type folder struct {
	series  map[exact]*series
	groups  map[similar]*group
	buckets map[similar]*bucket // keyed without typ and reason
}

func newFolder() *folder {
	return &folder{series: map[exact]*series{}, groups: map[similar]*group{}, buckets: map[similar]*bucket{}}
}

// fold finds the series that o belongs to and counts it there; nil means that o is one too many of its object and is dropped.
func (f *folder) fold(o occurrence) *series {
	who := similar{component: o.source.Component, uid: o.ref.UID, kind: o.ref.Kind, namespace: o.ref.Namespace, name: o.ref.Name}
	if !f.take(who, o.at) {
		return nil
	}
	who.part, who.typ, who.reason = o.ref.FieldPath, o.kind, o.reason
	id := exact{similar: who, message: o.message}
	message := o.message
	if f.tooManyAlike(who, o) {
		id.message, message = "", "(combined from similar events): "+o.message
	}
	s := f.series[id]
	if s == nil {
		if len(f.series) >= maxRemembered {
			clear(f.series)
		}
		s = &series{first: o.at}
		f.series[id] = s
	}
	s.message = message
	s.count++
	return s
}

func (f *folder) take(who similar, now time.Time) bool {
	b := f.buckets[who]
	if b == nil {
		if len(f.buckets) >= maxRemembered {
			clear(f.buckets)
		}
		b = &bucket{tokens: burst, at: now}
		f.buckets[who] = b
	}
	b.tokens = min(burst, b.tokens+float64(now.Sub(b.at))/float64(refill))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (f *folder) tooManyAlike(who similar, o occurrence) bool {
	g := f.groups[who]
	if g == nil || o.at.Sub(g.last) > similarWindow {
		if len(f.groups) >= maxRemembered {
			clear(f.groups)
		}
		g = &group{messages: map[string]bool{}}
		f.groups[who] = g
	}
	g.last = o.at
	if len(g.messages) < similarMax {
		g.messages[o.message] = true
	}
	return len(g.messages) >= similarMax
}
