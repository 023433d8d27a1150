package apiserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/rest"
)

// Times of a watch.
const (
	watchLimit    = 30 * time.Minute // at least so long, at most twice that, where the client asks for nothing
	bookmarkEvery = time.Minute
	lastBookmark  = 2 * time.Second // before the end
	takeAtOnce    = 256             // events per write

	// Where many watch the same resource, each is written to at most once per pace: a first event goes out at once, what follows on
	// its heels is gathered. A write costs a system call and a record of TLS whatever it carries, about 10 us, so telling everybody
	// takes a fifth of a core at most.
	pacePerWatch = 50 * time.Microsecond
	longestPace  = 100 * time.Millisecond
	fewWatches   = 20 // not worth it
)

// watch streams the changes of a resource until the client goes, the time is up, or the server ends.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q *request) {
	opt, err := listOptions(q.query)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if _, err := codec.CheckTableOptions(q.query.Get("includeObject")); err != nil {
		s.fail(w, r, err)
		return
	}
	rw, err := s.rest.Watch(r.Context(), q.served, q.about(), opt)
	if err = q.served.Uncached(err); err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			s.expired(w, r, q, err)
			return
		}
		s.fail(w, r, err)
		return
	}
	defer rw.Close()
	if q.want.Form == codec.YAML {
		s.fail(w, r, codec.NotAcceptable("only the following media types are accepted: "+codec.Streams))
		return
	}
	limit := watchLimit + rand.N(watchLimit)
	if opt.TimeoutSeconds != nil && *opt.TimeoutSeconds != 0 {
		limit = time.Duration(*opt.TimeoutSeconds) * time.Second
	}
	f := newFeed(s, w, r, q)
	rw.OnCut(f.unblock)
	f.begin()
	if limit < 0 && rw.Rev != 0 {
		_ = f.end(tooShort)
		return
	}
	f.run(rw, limit)
}

// tooShort is what a watch says that is over before it can tell what there is.
var tooShort = &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
	Reason: metav1.StatusReasonInternalError, Message: context.DeadlineExceeded.Error()}}

// expired answers a watch from too old a revision the way clients expect it: 200, and an ERROR event with the 410.
func (s *Server) expired(w http.ResponseWriter, r *http.Request, q *request, err error) {
	f := newFeed(s, w, r, q)
	f.begin()
	f.status(err)
	_ = f.flush()
}

// feed writes the events of one watch.
type feed struct {
	server *Server
	out    http.ResponseWriter
	ctl    *http.ResponseController
	q      *request
	ctx    context.Context // of the request
	buf    []byte
	tables codec.TableOptions
	seen   *watchSeries
	dirty  bool
	rung   atomic.Uint32 // what for, beside events
	tick   *time.Timer   // of bookmarks
}

func newFeed(s *Server, w http.ResponseWriter, r *http.Request, q *request) *feed {
	f := &feed{server: s, out: w, ctl: http.NewResponseController(w), q: q, ctx: r.Context(), seen: s.metrics.watched(q.target.Resource)}
	f.tables = codec.TableOptions{Include: metav1.IncludeObjectPolicy(q.query.Get("includeObject")), Version: q.want.Version}
	if q.want.Form == codec.YAML {
		q.want.Form = codec.JSON // there is no watch in YAML
	}
	return f
}

// unblock ends a write that the client does not take.
func (f *feed) unblock() {
	_ = f.ctl.SetWriteDeadline(time.Now()) // it fails where the connection is gone, and then there is nothing to unblock
}

func (f *feed) begin() {
	h := f.out.Header()
	h.Set("Content-Type", f.q.want.ContentType(true))
	warn(h, f.q)
	f.out.WriteHeader(http.StatusOK)
	f.dirty = true
}

func (f *feed) flush() error {
	if len(f.buf) > 0 {
		if _, err := f.out.Write(f.buf); err != nil {
			return err
		}
		if cap(f.buf) > 1<<20 {
			f.buf = nil
		}
		f.buf, f.dirty = f.buf[:0], true
	}
	if !f.dirty {
		return nil
	}
	f.dirty = false
	return f.ctl.Flush()
}

// What the bell of a feed may be rung for beside events.
const (
	forEnd      = 1 << iota // the client has gone, the time is up, or the server ends
	forBookmark             // one is due
)

// run tells the initial objects and then every event. All that it waits for rings one bell: waiting for many things at once costs as
// much as encrypting an event.
func (f *feed) run(w *rest.Watch, limit time.Duration) {
	seen := w.Rev
	if f.initial(w) != nil {
		return
	}
	f.q.ticket.Leave() // from here on it is the writes that pay
	defer f.ringFor(w, limit)()
	began := time.Now()
	var events []cache.Event
	var wrote time.Time // where there is a pace
	take := func() error {
		for more := true; more; {
			events, seen = w.Take(events[:0], takeAtOnce)
			more = seen == 0
			if err := f.events(events); err != nil {
				return err
			}
		}
		clear(events)
		return nil
	}
	for range w.Bell() {
		what := f.rung.Swap(0)
		if what&forEnd != 0 {
			return
		}
		if what&forBookmark != 0 {
			var upTo int64
			events, upTo = w.Take(events[:0], 1<<20)
			if f.events(events) != nil || f.bookmark(max(upTo, seen), false) != nil || f.flush() != nil {
				return
			}
			clear(events)
			left := limit - time.Since(began)
			f.tick.Reset(max(min(bookmarkEvery, left-lastBookmark), time.Second))
		}
		if pace := f.pace(); pace > 0 {
			time.Sleep(pace - time.Since(wrote)) // what rings meanwhile waits so long
			wrote = time.Now()
		}
		last := w.Over() // asked before: what comes before that is told
		if take() != nil || last {
			return
		}
	}
}

// ringFor has all but events ring the bell of w. Call done in the end.
func (f *feed) ringFor(w *rest.Watch, limit time.Duration) (done func()) {
	because := func(what uint32) func() {
		return func() {
			f.rung.Or(what)
			w.Ring()
		}
	}
	end := time.AfterFunc(limit, because(forEnd))
	gone := context.AfterFunc(f.ctx, because(forEnd))
	ending := context.AfterFunc(f.server.ending, because(forEnd))
	f.tick = time.AfterFunc(min(bookmarkEvery, max(limit-lastBookmark, limit/2)), because(forBookmark))
	if !w.Bookmark || limit <= lastBookmark {
		f.tick.Stop()
	}
	return func() {
		end.Stop()
		gone()
		ending()
		f.tick.Stop()
	}
}

// pace is how long to gather events between two writes.
func (f *feed) pace() time.Duration {
	n := f.q.served.Shelf.Watchers()
	if n < fewWatches {
		return 0
	}
	return min(time.Duration(n)*pacePerWatch, longestPace)
}

// initial tells what there is, a chunk at a time.
func (f *feed) initial(w *rest.Watch) error {
	for _, it := range w.Initial {
		if err := f.event("ADDED", it); err != nil {
			return err
		}
		if len(f.buf) > 64<<10 {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	w.Initial = nil
	if w.EndMark {
		if err := f.bookmark(w.Rev, true); err != nil {
			return err
		}
	}
	err := f.flush()
	if w.EndMark && err == nil {
		f.server.metrics.told(f.q, time.Since(f.q.began))
	}
	return err
}

func (f *feed) events(list []cache.Event) error {
	for i := range list {
		if err := list[i].Err; err != nil {
			return f.end(err)
		}
		if err := f.event(string(list[i].Type), list[i].Item); err != nil {
			return err
		}
	}
	return f.flush()
}

// event appends one event to the buffer.
func (f *feed) event(kind string, it *cache.Item) error {
	it, err := f.q.served.Item(f.ctx, it)
	if err != nil {
		return f.end(err)
	}
	e, err := f.encode(it)
	if err != nil {
		f.server.log.Error("encode a watch event", "kind", it.Object.GetObjectKind().GroupVersionKind().Kind, "key", it.Key, "err", err)
		return err
	}
	f.seen.events.Add(1)
	f.seen.sizes.Add(int64(len(e.Bytes)))
	f.buf = codec.AppendFrame(f.buf, f.q.want.Form, kind, e)
	return nil
}

func (f *feed) encode(it *cache.Item) (codec.Encoded, error) {
	switch f.q.want.Shape {
	case codec.Table:
		t, err := f.server.table(f.q, []*cache.Item{it}, metav1.ListMeta{ResourceVersion: it.Object.GetResourceVersion()}, f.tables)
		if err != nil {
			return codec.Encoded{}, err
		}
		f.tables.NoHeaders = true // the columns come with the first event only
		return codec.Encode(t, f.q.want.Form)
	case codec.Partial:
		return codec.Encode(codec.PartialOf(it.Object, f.q.want.Version), f.q.want.Form)
	}
	return f.server.encodeItem(f.q, it)
}

// bookmark says how far the watch is.
func (f *feed) bookmark(rev int64, end bool) error {
	o := f.q.served.Kind.New()
	o.GetObjectKind().SetGroupVersionKind(f.q.served.Kind.GVK())
	o.SetResourceVersion(fmt.Sprint(rev))
	if end {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return f.event("BOOKMARK", cache.Loose(f.q.served.Kind, o))
}

// end tells why the watch ends.
func (f *feed) end(err error) error {
	f.status(err)
	_ = f.flush() // it ends in any case
	return err
}

// status appends an ERROR event.
func (f *feed) status(err error) {
	st := err.(apierrors.APIStatus).Status()
	st.SetGroupVersionKind(metav1.Unversioned.WithKind("Status"))
	e, eerr := codec.Encode(&st, f.q.want.Form)
	if eerr == nil {
		f.buf = codec.AppendFrame(f.buf, f.q.want.Form, "ERROR", e)
	}
}
