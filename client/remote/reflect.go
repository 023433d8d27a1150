package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/client"
	"proa.dev/object"
)

const (
	pageSize   = 500
	minPause   = 100 * time.Millisecond
	maxPause   = 10 * time.Second
	watchLife  = 5 * time.Minute // at least, twice that at most: so that servers see their watchers move
	patience   = watchLife * 5 / 2
	endOfStart = metav1.InitialEventsAnnotationKey
)

// reflector keeps somebody's copy of objects like the server's.
type reflector struct {
	c       *Client
	log     *slog.Logger
	to      copied
	from    client.Target // the resource, and the namespace if it is about one
	labels  string        // selectors of what is copied
	fields  string
	refused func(error) // hears that the server does not want to be asked; nil: nobody does

	rev     string // everything up to here is on the shelf; "" means start over
	noWatch bool   // the server cannot send initial states in a watch
	failing bool
}

// copied holds the copy. The reflector's goroutine calls it.
type copied interface {
	replace(all map[object.Key]object.Object)
	apply(t client.EventType, o object.Object)
}

var errGone = errors.New("the server has forgotten our revision")

// run follows the server until ctx ends.
func (r *reflector) run(ctx context.Context) error {
	pause := minPause
	for ctx.Err() == nil {
		begin, most := time.Now(), maxPause
		err := r.round(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errGone) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			r.rev = ""
		case r.refused != nil && refusal(err):
			r.refused(err)
			r.rev, most = "", refusedPause
		case errors.Is(err, io.EOF) || err == nil: // the server ended the watch, as it does now and then
			r.worked()
		default:
			r.failed(err)
		}
		if time.Since(begin) > maxPause { // it worked for a while
			pause = minPause
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		pause = min(2*pause, most)
	}
	return nil
}

func (r *reflector) failed(err error) {
	if !r.failing {
		r.log.Warn("watch the API server", "err", err)
	}
	r.failing = true
}

func (r *reflector) worked() {
	if r.failing {
		r.log.Info("watching the API server again")
	}
	r.failing = false
}

// round reads everything if need be and watches until something ends the watch.
func (r *reflector) round(ctx context.Context) error {
	if r.rev == "" && r.noWatch {
		if err := r.list(ctx); err != nil {
			return err
		}
		r.worked()
	}
	err := r.watch(ctx)
	if r.rev == "" && (apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsMethodNotSupported(err)) {
		r.noWatch = true
		return nil
	}
	return err
}

// list reads all objects page by page, as of one revision.
func (r *reflector) list(ctx context.Context) error {
	all := map[object.Key]object.Object{}
	opt := metav1.ListOptions{Limit: pageSize, LabelSelector: r.labels, FieldSelector: r.fields}
	for {
		page, err := r.c.List(ctx, r.from, opt)
		if err != nil {
			return err
		}
		for _, o := range page.Items {
			all[object.KeyOf(o)] = o
		}
		if opt.Continue = page.Continue; opt.Continue == "" {
			r.to.replace(all)
			r.rev = page.ResourceVersion
			return nil
		}
	}
}

// watch follows changes after rev; without one it asks for the initial state first.
func (r *reflector) watch(ctx context.Context) error {
	// The server ends the watch after seconds; if it does not, we do.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	seconds := int64((watchLife + rand.N(watchLife)) / time.Second)
	opt := metav1.ListOptions{
		Watch: true, AllowWatchBookmarks: true, TimeoutSeconds: &seconds, ResourceVersion: r.rev,
		LabelSelector: r.labels, FieldSelector: r.fields,
	}
	var initial map[object.Key]object.Object // while the initial state comes in
	if r.rev == "" {
		yes := true
		opt.SendInitialEvents, opt.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
		initial = map[object.Key]object.Object{}
	}
	k := call{verb: "watch", method: http.MethodGet, target: r.from, query: listQuery(opt)}
	res, err := r.c.open(ctx, k)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		data, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		if err != nil {
			return fmt.Errorf("watch %s: %w", r.from.Resource.Resource, err)
		}
		return failure(k, res, data)
	}
	in := newFrames(res.Body, res.Header.Get("Content-Type"))
	for {
		event, o, err := in.next()
		if err != nil {
			return err
		}
		if initial, err = r.take(event, o, initial); err != nil {
			return err
		}
	}
}

// take handles one event; it returns the initial state that is still coming in, or nil.
func (r *reflector) take(event string, o runtime.Object, initial map[object.Key]object.Object) (map[object.Key]object.Object, error) {
	if event == "ERROR" {
		if st, ok := o.(*metav1.Status); ok {
			return initial, &apierrors.StatusError{ErrStatus: *st}
		}
		return initial, fmt.Errorf("watch %s: the server sent an error of type %T", r.from.Resource.Resource, o)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return initial, fmt.Errorf("watch %s: %w", r.from.Resource.Resource, err)
	}
	full, isObject := o.(object.Object)
	switch {
	case event == "BOOKMARK" && initial != nil && m.GetAnnotations()[endOfStart] == "true":
		r.to.replace(initial)
		initial = nil
		r.worked()
	case event == "BOOKMARK":
	case !isObject:
		return initial, fmt.Errorf("watch %s: the server sent a %T", r.from.Resource.Resource, o)
	case initial != nil && event == "DELETED":
		delete(initial, object.KeyOf(full))
	case initial != nil:
		initial[object.KeyOf(full)] = full
	case event == "ADDED" || event == "MODIFIED" || event == "DELETED":
		r.to.apply(client.EventType(event), full)
	}
	if initial == nil {
		r.rev = m.GetResourceVersion()
	}
	return initial, nil
}
