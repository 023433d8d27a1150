package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	mivalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/store"
)

// Listing is one page of a list, in key order.
type Listing struct {
	Items []*cache.Item
	Meta  metav1.ListMeta
}

// List reads objects. Everything that asks for the current state comes from the cache; a further page, and an exact old
// revision, from the store at that revision.
func (a *API) List(ctx context.Context, s *Served, t client.Target, opt metav1.ListOptions) (*Listing, error) {
	l, err := a.list(ctx, s, t, opt)
	if err != nil {
		return nil, err
	}
	l.Items, err = s.Items(ctx, l.Items)
	return l, err
}

func (a *API) list(ctx context.Context, s *Served, t client.Target, opt metav1.ListOptions) (*Listing, error) {
	if s.Shelf == nil {
		return a.listComputed(ctx, s, t, opt)
	}
	if err := checkListOptions(opt, false); err != nil {
		return nil, err
	}
	sel, err := a.selection(ctx, s, t, opt)
	if err != nil {
		return nil, err
	}
	if _, err := parseRV(opt.ResourceVersion); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	opt.Limit = max(opt.Limit, 0)
	if opt.ResourceVersion == "0" && opt.Continue == "" && opt.ResourceVersionMatch != metav1.ResourceVersionMatchExact {
		opt.Limit = 0 // whatever there is in memory is answered as a whole
	}
	switch {
	case opt.Continue != "":
		return a.continued(ctx, s, sel, opt)
	case opt.ResourceVersionMatch == metav1.ResourceVersionMatchExact,
		// Kubernetes: with a limit, a resourceVersion without a match means exactly that revision.
		opt.ResourceVersionMatch == "" && opt.Limit > 0 && opt.ResourceVersion != "" && opt.ResourceVersion != "0":
		rev, err := parseRV(opt.ResourceVersion)
		if err != nil {
			return nil, err
		}
		return a.fromStore(ctx, s, sel, rev, s.Shelf.Prefix(sel.Namespace), opt)
	}
	if err := a.atLeast(ctx, opt.ResourceVersion); err != nil {
		return nil, err
	}
	return a.fromCache(ctx, s, sel, opt)
}

// counts says whether a page tells how many objects are left: only where no selector would have to be asked about them, be it one that the
// namespace of the request answers.
func counts(sel *cache.Selection, opt *metav1.ListOptions) bool {
	return sel.All() && opt.FieldSelector == ""
}

func (a *API) fromCache(ctx context.Context, s *Served, sel cache.Selection, opt metav1.ListOptions) (_ *Listing, err error) {
	limit := opt.Limit
	sn := a.cache.Snapshot(s.Shelf, sel.Namespace)
	l := &Listing{Meta: metav1.ListMeta{ResourceVersion: formatRV(sn.Rev)}}
	if sel.Name != "" && (sel.Namespace != "" || !s.Namespaced) {
		it, ok := s.Shelf.Get(object.Key{Namespace: sel.Namespace, Name: sel.Name})
		if !ok {
			return l, nil
		}
		if ok, err = sel.Matches(it); ok {
			l.Items = []*cache.Item{it}
		}
		return l, err
	}
	if err := s.ahead(ctx, &sel, sn); err != nil {
		return nil, err
	}
	if sel.All() {
		n := int64(sn.Count())
		if limit > 0 {
			n = min(n, limit)
		}
		l.Items = make([]*cache.Item, 0, n)
	}
	sn.Walk(sel.Namespace, object.Key{}, func(it *cache.Item) bool {
		if limit > 0 && int64(len(l.Items)) == limit {
			last := l.Items[limit-1]
			l.Meta.Continue = token{APIVersion: tokenVersion, Rev: sn.Rev, Start: tokenKey(last.Key, sel.Namespace) + "\x00"}.String()
			if counts(&sel, &opt) {
				rest := int64(sn.Count()) - limit
				l.Meta.RemainingItemCount = &rest
			}
			return false
		}
		var yes bool
		if yes, err = sel.Matches(it); yes {
			l.Items = append(l.Items, it)
		}
		return err == nil
	})
	return l, err
}

// tokenKey is the key as a continue token has it: relative to the prefix of the list.
func tokenKey(k object.Key, namespace string) string {
	if namespace != "" {
		return k.Name
	}
	return k.String()
}

// continued is a further page.
func (a *API) continued(ctx context.Context, s *Served, sel cache.Selection, opt metav1.ListOptions) (*Listing, error) {
	prefix := s.Shelf.Prefix(sel.Namespace)
	tok, err := parseToken(opt.Continue)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
	}
	if opt.ResourceVersion != "" && opt.ResourceVersion != "0" {
		return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	rev := tok.Rev
	if rev < 0 { // inconsistent: go on at whatever revision is newest
		rev = 0
	}
	return a.fromStore(ctx, s, sel, rev, prefix+tok.Start, opt)
}

// fromStore lists at one revision (0 is the newest) from a store key on.
func (a *API) fromStore(ctx context.Context, s *Served, sel cache.Selection, rev int64, from string, opt metav1.ListOptions) (*Listing, error) {
	prefix := s.Shelf.Prefix(sel.Namespace)
	l := &Listing{}
	limit := opt.Limit
	for {
		ask := store.ListOptions{Rev: rev, From: from}
		if limit > 0 { // with selectors, read more than one page's worth at a time
			ask.Limit = int(limit)
			if !sel.All() {
				ask.Limit = max(ask.Limit, 500)
			}
		}
		page, err := a.store.List(ctx, prefix, ask)
		if err != nil {
			return nil, expired(err, opt, tokenStart(from, prefix), rev, a.cache.Rev())
		}
		rev = page.Rev
		items, err := s.pageItems(ctx, &sel, page.KVs)
		if err != nil {
			return nil, err
		}
		for i, it := range items {
			yes, err := sel.Matches(it)
			if err != nil {
				return nil, err
			}
			if yes {
				l.Items = append(l.Items, it)
			}
			more := page.Count - int64(i) - 1
			if limit > 0 && int64(len(l.Items)) == limit && more > 0 {
				l.Meta.Continue = token{APIVersion: tokenVersion, Rev: rev, Start: tokenStart(page.KVs[i].Key, prefix) + "\x00"}.String()
				if counts(&sel, &opt) {
					l.Meta.RemainingItemCount = &more
				}
				l.Meta.ResourceVersion = formatRV(rev)
				return l, nil
			}
		}
		if page.Count <= int64(len(page.KVs)) {
			l.Meta.ResourceVersion = formatRV(rev)
			return l, nil
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
}

func tokenStart(key, prefix string) string { return strings.TrimPrefix(key, prefix) }

// expired is the error of a list at a revision that the store has no more: 410, with a token to go on inconsistently where the
// client was in the middle of a list. newest is the revision that the cache has.
func expired(err error, opt metav1.ListOptions, start string, rev, newest int64) error {
	switch {
	case errors.Is(err, store.ErrFuture):
		return cache.TooLarge(rev, newest)
	case !errors.Is(err, store.ErrCompacted):
		return failure(err)
	case opt.Continue == "":
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	e := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	e.ErrStatus.ListMeta.Continue = token{APIVersion: tokenVersion, Rev: -1, Start: start}.String()
	return e
}

// token is a continue token, in Kubernetes' form.
type token struct {
	APIVersion string `json:"v"`
	Rev        int64  `json:"rv"` // -1: the newest
	Start      string `json:"start"`
}

const tokenVersion = "meta.k8s.io/v1"

func (t token) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // three plain fields
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseToken(s string) (t token, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return t, fmt.Errorf("continue key is not valid: %w", err)
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return t, fmt.Errorf("continue key is not valid: %w", err)
	}
	switch {
	case t.APIVersion != tokenVersion:
		return t, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %s", t.APIVersion)
	case t.Rev == 0:
		return t, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case t.Start == "":
		return t, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	// The start may not climb out of the prefix that it is put behind.
	key := "/" + strings.TrimPrefix(t.Start, "/")
	if path.Clean(key) != key {
		return t, fmt.Errorf("continue key is not valid: %s", t.Start)
	}
	return t, nil
}

// checkListOptions refuses combinations that have no meaning, in Kubernetes' words.
func checkListOptions(opt metav1.ListOptions, watch bool) error {
	if watch && opt.SendInitialEvents == nil && opt.ResourceVersionMatch == "" && (opt.ResourceVersion == "" || opt.ResourceVersion == "0") {
		// Kubernetes reads such a watch as one that wants the initial events, and judges that.
		yes := true
		opt.SendInitialEvents, opt.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
	}
	in := &internalversion.ListOptions{Watch: watch, ResourceVersion: opt.ResourceVersion, ResourceVersionMatch: opt.ResourceVersionMatch,
		Continue: opt.Continue, Limit: opt.Limit, SendInitialEvents: opt.SendInitialEvents}
	if errs := mivalidation.ValidateListOptions(in, true); len(errs) > 0 {
		return apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("ListOptions").GroupKind(), "", errs)
	}
	if opt.Limit > math.MaxInt32 {
		return apierrors.NewBadRequest(fmt.Sprintf("limit %d is out of range", opt.Limit))
	}
	return nil
}
