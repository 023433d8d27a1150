package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/owners"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/object"
	"proa.dev/store"
)

// Connector serves the subresources that stream: pods/{log,exec,attach,portforward,proxy}, services/proxy, nodes/proxy. The
// request has been authorised.
type Connector interface {
	Connect(w http.ResponseWriter, r *http.Request, t client.Target)
}

// Deps are what an API is made of.
type Deps struct {
	Cache     *cache.Cache
	Store     store.Store
	Kinds     []*kinds.Kind
	Admission admission.Chain
	Authz     authz.Authorizer
	Authn     authn.Authenticator                  // for TokenReview; may be nil
	Issuer    Issuer                               // for serviceaccounts/token; may be nil
	Computed  map[schema.GroupVersionKind]Computed // who makes the objects of kinds that are not stored
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// API is the verbs. All methods may be called at once.
type API struct {
	cache     *cache.Cache
	store     store.Store
	admission admission.Chain
	authz     authz.Authorizer
	authn     authn.Authenticator
	issuer    Issuer
	computed  map[schema.GroupVersionKind]Computed
	log       *slog.Logger
	now       func() time.Time
	table     atomic.Pointer[table]
	owners    *owners.Tracker
	mergers   *mergers
}

// New makes an API. It starts nothing.
func New(d Deps) *API {
	a := &API{
		cache: d.Cache, store: d.Store, admission: d.Admission, authz: d.Authz, authn: d.Authn, issuer: d.Issuer, computed: d.Computed, log: d.Log,
		now: d.Now, owners: owners.New(d.Cache.Shares()), mergers: newMergers(),
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.table.Store(newTable(d.Kinds, d.Cache))
	return a
}

// New is a new object of the served version.
func (s *Served) New() object.Object {
	if s.Also != nil {
		return s.Also.New()
	}
	return s.Kind.New()
}

// ListGVK is the kind of a list of s.
func (s *Served) ListGVK() schema.GroupVersionKind {
	gvk := s.GVK()
	gvk.Kind += "List"
	if c := s.Kind.Custom; c != nil {
		gvk.Kind = c.ListKind
	}
	return gvk
}

// Out is a stored object as s serves it. The result is frozen if o is.
func (s *Served) Out(o object.Object) (object.Object, error) {
	if s.Also == nil {
		return o, nil
	}
	out, err := s.Also.To(o)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("convert %s to %s: %w", s.Kind.Kind, s.GroupVersion(), err))
	}
	out.GetObjectKind().SetGroupVersionKind(s.GVK())
	return out, nil
}

// In is an object of the served version as it is stored. o belongs to In.
func (s *Served) In(o object.Object) (object.Object, error) {
	if s.Also == nil {
		return o, nil
	}
	in, err := s.Also.From(o)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("convert %s from %s: %v", s.Kind.Kind, s.GroupVersion(), err))
	}
	in.GetObjectKind().SetGroupVersionKind(s.Kind.GVK())
	return in, nil
}

// group is the resource without its version, as errors name it.
func (s *Served) group() schema.GroupResource { return s.GroupVersionResource.GroupResource() }

// Answer is what a verb answers: an object of a stored kind as Item (in the stored version), or some other object.
type Answer struct {
	Item    *cache.Item
	Other   runtime.Object // where Item is nil: Scale, Status, a review ...
	Created bool           // 201
	Pending bool           // a delete that is not finished yet: 202 where the client asked for it
}

// Object is what is answered, as s serves it.
func (a Answer) Object(s *Served) (runtime.Object, error) {
	if a.Item == nil {
		return a.Other, nil
	}
	return s.Out(a.Item.Object)
}

// notFound is the 404 of an object.
func notFound(s *Served, name string) error { return apierrors.NewNotFound(s.group(), name) }

// modified is what the 409 of a lost race says.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// failure makes an error of the store one that can be sent.
func failure(err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &status):
		return err
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return apierrors.NewTimeoutError("request did not complete within requested timeout - "+err.Error(), 0)
	case errors.Is(err, store.ErrNoSpace):
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage,
			Reason: metav1.StatusReasonUnknown, Message: err.Error()}}
	}
	return apierrors.NewInternalError(err)
}

// plainError is a 500 with nothing but the text of err, as Kubernetes answers what it has not worded.
func plainError(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}

// dry says whether a request is not to be stored.
func dry(dryRun []string) bool { return len(dryRun) > 0 }

// current is the object with a key as the cache has it. Before it says "not found" it makes sure that the cache is up to date.
func (a *API) current(ctx context.Context, s *Served, key object.Key) (*cache.Item, error) {
	it, ok := s.Shelf.Get(key)
	if ok {
		return it, nil
	}
	if err := a.cache.Fresh(ctx); err != nil {
		return nil, failure(err)
	}
	if it, ok = s.Shelf.Get(key); ok {
		return it, nil
	}
	return nil, notFound(s, key.Name)
}

// Warn adds a warning to the answer of the request, once.
func Warn(ctx context.Context, text string) { admission.Warn(ctx, text) }
