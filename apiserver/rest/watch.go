package rest

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
)

// Watch is an open watch. Close the Watcher.
type Watch struct {
	*cache.Watcher
	Initial  []*cache.Item // to be told as ADDED before anything else
	Rev      int64         // the revision of Initial
	EndMark  bool          // after Initial comes a bookmark that says so (WatchList, KEP-3157)
	Bookmark bool          // the client wants bookmarks
}

// Watch opens a watch with Kubernetes' semantics of resourceVersion: "" and "0" tell what there is first, anything else tells what
// came after it; sendInitialEvents overrules that.
func (a *API) Watch(ctx context.Context, s *Served, t client.Target, opt metav1.ListOptions) (*Watch, error) {
	if s.Shelf == nil {
		return nil, apierrors.NewMethodNotSupported(s.group(), "watch")
	}
	if err := checkListOptions(opt, true); err != nil {
		return nil, err
	}
	sel, err := a.selection(ctx, s, t, opt)
	if err != nil {
		return nil, err
	}
	w := &Watch{Bookmark: opt.AllowWatchBookmarks}
	initial := opt.ResourceVersion == "" || opt.ResourceVersion == "0"
	if opt.SendInitialEvents != nil {
		initial = *opt.SendInitialEvents
	}
	w.EndMark = initial && opt.AllowWatchBookmarks
	rev, err := parseRV(opt.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if initial || rev == 0 {
		// Without a revision "from now" must not miss what was written before now.
		if err := a.atLeast(ctx, opt.ResourceVersion); err != nil {
			return nil, err
		}
		if err := s.ahead(ctx, &sel, a.cache.Snapshot(s.Shelf, sel.Namespace)); err != nil {
			return nil, err
		}
		if w.Watcher, w.Initial, w.Rev, err = a.cache.WatchNow(s.Shelf, sel); err != nil {
			return nil, err
		}
		if !initial {
			w.Initial = nil
		}
		if w.Initial, err = s.Items(ctx, w.Initial); err != nil {
			w.Close()
			return nil, err
		}
		return w, nil
	}
	w.Watcher, err = a.cache.WatchFrom(s.Shelf, sel, rev)
	return w, err
}
