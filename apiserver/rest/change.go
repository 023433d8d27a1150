package rest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/codec"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/store"
)

// changeTries bounds how often a change is made anew because somebody else was faster.
const changeTries = 16

// change is one write to an existing object: what update, patch, and the writing subresources have in common.
type change struct {
	target  client.Target
	options metav1.UpdateOptions
	// next makes the new object, in the stored version, of the current one (nil if it does not exist and create is set). Its result belongs
	// to the change. An object with a resourceVersion is stored only if that is the current one.
	next func(ctx context.Context, old *cache.Item) (object.Object, error)
	// create makes an object that does not exist; nil: 404.
	create func(ctx context.Context, o object.Object) (Answer, error)
	// put says that the client sends a whole object, and not a change of the current one.
	put bool
	// raw skips defaults and Prepare, checks metadata only, and counts no generation: for changes that the server makes itself.
	raw bool
	// counts has the generation counted all the same.
	counts bool
	// status says that the target's subresource writes the status and not the rest.
	status bool
	// body is what admission gets to see where the subresource has a kind of its own; nil: the whole object.
	body *subBody
	// admitted says that admission has seen the request that this change is a part of.
	admitted bool
	// tracked says that the managed fields in the new object are to be kept as they are: it is an apply, or the server's own doing.
	tracked bool
	// migrates says that the object is stored in an old version, so that a write without a change is one all the same.
	migrates bool
}

// subBody is the body of a subresource that stands for a part of the object.
type subBody struct {
	gvk  schema.GroupVersionKind
	of   func(o object.Object) object.Object // a new one
	sent object.Object                       // what the client has sent, or its patch has made, this time
	into func(body, o object.Object) error   // sets the part in o
}

// do makes the change, again and again while others are faster, unless the client asked for a resourceVersion.
func (a *API) do(ctx context.Context, s *Served, c change) (Answer, error) {
	for try := 1; ; try++ {
		old, err := a.current(ctx, s, c.target.Key)
		if apierrors.IsNotFound(err) && c.create != nil {
			o, err := c.next(ctx, nil)
			if err != nil {
				return Answer{}, err
			}
			return c.create(ctx, o)
		}
		if err != nil {
			return Answer{}, err
		}
		stored := old
		if old, err = s.Item(ctx, old); err != nil {
			return Answer{}, err
		}
		o, err := c.next(ctx, old)
		if err != nil {
			return Answer{}, failure(err)
		}
		c.migrates = s.Kind.Custom != nil && !s.Kind.Custom.Stored.Current(stored.Object)
		asked := o.GetResourceVersion()
		if _, err := strconv.ParseUint(asked, 10, 64); asked != "" && err != nil {
			return Answer{}, plainError(err)
		}
		if asked == "0" {
			asked = ""
		}
		if asked == "" && c.put && s.Kind.Versioned && c.target.Sub != "scale" && o.GetName() == c.target.Name {
			return Answer{}, noVersion(s, c.target.Name)
		}
		if asked != "" && asked != formatRV(old.Rev) {
			if again, err := a.behind(ctx, s, old); err != nil || again && try < changeTries {
				if err != nil {
					return Answer{}, err
				}
				continue
			}
			return Answer{}, apierrors.NewConflict(s.group(), c.target.Name, errModified)
		}
		answer, err := a.changeOnce(ctx, s, c, old, o)
		if _, lost := cache.ErrConflict(err); lost {
			if asked != "" || try == changeTries {
				return Answer{}, apierrors.NewConflict(s.group(), c.target.Name, errModified)
			}
			if err := a.cache.Fresh(ctx); err != nil {
				return Answer{}, failure(err)
			}
			continue
		}
		return answer, failure(err)
	}
}

// noVersion refuses a change that does not say which resourceVersion it changes.
func noVersion(s *Served, name string) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: s.Group, Kind: s.GroupVersionResource.Resource}, name, field.ErrorList{
		field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
}

// behind says whether the cache turns out to have something newer than old once it is up to date.
func (a *API) behind(ctx context.Context, s *Served, old *cache.Item) (bool, error) {
	if err := a.cache.Fresh(ctx); err != nil {
		return false, failure(err)
	}
	it, ok := s.Shelf.Get(old.Key)
	return !ok || it.Rev != old.Rev, nil
}

// changeOnce takes the change from old to o through admission and validation into the store. The error is a *store.Conflict if
// somebody else was faster.
func (a *API) changeOnce(ctx context.Context, s *Served, c change, old *cache.Item, o object.Object) (_ Answer, err error) {
	if err := matchUpdate(s, c, old, o); err != nil {
		return Answer{}, err
	}
	r := updateWith(a.request(ctx, s, admission.Update, c.target.Sub), c.options)
	r.Key = old.Key
	defer func() {
		if err != nil || r.DryRun {
			r.Failed()
		}
	}()
	if c.put {
		dedupOwners(ctx, o, false)
	}
	if s.Kind.Custom == nil { // else validation says what is wrong with it
		o.GetObjectKind().SetGroupVersionKind(s.Kind.GVK())
	}
	if !c.raw {
		s.Kind.Default(o)
	}
	if !c.tracked {
		a.tracked(ctx, s, c.target.Sub, old.Object, o, c.options.FieldManager)
	}
	if o, err = a.admitChange(ctx, r, c, old.Object, o); err != nil {
		return Answer{}, err
	}
	dedupOwners(ctx, o, true)
	keepMeta(o, old.Object)
	o.SetResourceVersion(formatRV(old.Rev)) // it was compared above; validation wants one
	if !c.raw {
		prepareChange(s, c, o, old.Object)
	}
	if s.Kind.Generation && !c.status && (!c.raw || c.counts) && !sameSpec(o, old.Object) {
		o.SetGeneration(old.Object.GetGeneration() + 1)
	}
	if errs := checkChange(s, c, o, old.Object); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(groupKindOf(s, o), o.GetName(), errs)
	}
	if !c.raw && !c.status {
		for _, w := range s.Kind.Warn(o, old.Object) {
			Warn(ctx, w)
		}
	}
	if err := a.checkAdmission(ctx, r, c, o); err != nil {
		return Answer{}, err
	}
	s.asStored(o)
	if o.GetDeletionTimestamp() != nil && goneAfter(o) {
		answer, err := a.finish(ctx, s, old, o, r.DryRun)
		if err == nil { // the client has asked for a change, and is told what it has made
			answer = Answer{Item: cache.Loose(s.Kind, o)}
		}
		return answer, err
	}
	if err := sameTimes(o, old.Object); err != nil {
		return Answer{}, err
	}
	same, err := equal(o, old.Object)
	if err != nil {
		return Answer{}, err
	}
	if same && !c.migrates {
		if again, err := a.behind(ctx, s, old); err != nil || again {
			return Answer{}, conflictOr(err, s, old)
		}
		if stale, err := a.stale(ctx, s, old); err != nil || stale && !r.DryRun {
			if err != nil {
				return Answer{}, failure(err)
			}
			it, err := a.cache.Write(ctx, s.Shelf, old.Key, o, old.Rev)
			return Answer{Item: it}, err
		}
		r.Failed() // nothing was written: what was reserved for it is not needed
		return Answer{Item: old}, nil
	}
	if r.DryRun {
		it, err := s.dryItem(ctx, o)
		return Answer{Item: it}, err
	}
	it, err := a.write(ctx, s, old.Key, o, old.Rev)
	return Answer{Item: it}, err
}

// admitChange is what admission makes of o.
func (a *API) admitChange(ctx context.Context, r *admission.Request, c change, old, o object.Object) (object.Object, error) {
	r.Object, r.Old = o, old
	if c.body != nil {
		r.Object, r.Old, r.Body = c.body.sent, c.body.of(old), c.body.gvk
	}
	if c.admitted {
		return o, nil
	}
	had := fieldsBefore(o)
	if err := a.admission.Admit(ctx, r); err != nil {
		return nil, err
	}
	if c.body != nil {
		return o, c.body.into(r.Object, o)
	}
	keepFields(ctx, o, r.Object, had)
	return r.Object, nil
}

// checkAdmission lets admission judge o as it is going to be stored.
func (a *API) checkAdmission(ctx context.Context, r *admission.Request, c change, o object.Object) error {
	if c.admitted {
		return nil
	}
	r.Object = o
	if c.body != nil {
		r.Object = c.body.of(o)
	}
	return a.admission.Check(ctx, r)
}

// prepareChange sets what this kind of write may not change.
func prepareChange(s *Served, c change, o, old object.Object) {
	if c.status {
		onlyStatus(o, old)
		if sub := s.Kind.StatusSub(c.target.Sub); sub == nil {
			s.Kind.PrepareStatus(o, old)
		} else if sub.Prepare != nil {
			sub.Prepare(o, old)
		}
		return
	}
	if s.Kind.Status {
		keepStatus(o, old)
	}
	s.Kind.Prepare(o, old)
}

func checkChange(s *Served, c change, o, old object.Object) field.ErrorList {
	m := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(o, s.Namespaced, path.ValidatePathSegmentName, m)
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(o, old, m)...)
	if s.Kind.Custom != nil {
		if len(errs) > 0 { // Kubernetes' checks of custom objects have those of changes of metadata once more
			errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(o, old, m)...)
		}
	} else {
		errs = append(errs, metaAgain(s, c, o, old, len(errs) > 0)...)
	}
	switch {
	case c.raw, c.status && c.target.Sub != "status":
		errs = append(errs, s.Kind.ValidateSub(c.target.Sub, o, old)...)
	case c.status:
		errs = append(errs, s.Kind.ValidateStatus(o, old)...)
	default:
		errs = append(errs, s.Kind.Validate(o)...)
		errs = append(errs, s.Kind.ValidateUpdate(o, old)...)
		errs = ofVersion(s, o, old, errs)
	}
	return errs
}

// matchUpdate says whether o can take the place of old at all.
func matchUpdate(s *Served, c change, old *cache.Item, o object.Object) error {
	t := c.target
	if err := sameNamespace(s, t.Namespace, o); err != nil {
		return err
	}
	if err := sameName(t.Name, o); err != nil {
		return err
	}
	if c.put && o.GetUID() != "" && o.GetUID() != old.Object.GetUID() {
		return unmetPrecondition(s, old.Key, dry(c.options.DryRun), "UID", o.GetUID(), old.Object.GetUID())
	}
	if s.Namespaced {
		o.SetNamespace(t.Namespace)
	} else {
		o.SetNamespace("")
	}
	return nil
}

// unmetPrecondition is the 409 of a write that is about another object, or another state of it, in the words of Kubernetes' storage.
func unmetPrecondition(s *Served, at object.Key, dry bool, what string, want, got any) error {
	key := s.Shelf.StoreKey(at)
	if dry {
		key = strings.TrimPrefix(key, "/registry")
	}
	return apierrors.NewConflict(s.group(), at.Name, fmt.Errorf("%s, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: "+
		"Precondition failed: %s in precondition: %v, %s in object meta: %v", "StorageError: invalid object", key, what, want, what, got))
}

// sameNamespace says whether o has the namespace that the URL has, or none.
func sameNamespace(s *Served, namespace string, o object.Object) error {
	if s.Namespaced && o.GetNamespace() != "" && o.GetNamespace() != namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// sameName says whether o has the name that the URL has.
func sameName(name string, o object.Object) error {
	switch o.GetName() {
	case name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", name))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), name))
}

// keepMeta gives o the metadata of old that no client may change.
func keepMeta(o, old object.Object) {
	o.SetGeneration(old.GetGeneration())
	if o.GetUID() == "" {
		o.SetUID(old.GetUID())
	}
	if created := old.GetCreationTimestamp(); !created.IsZero() {
		o.SetCreationTimestamp(created)
	}
	o.SetSelfLink("")
	if old.GetDeletionTimestamp() != nil {
		o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if old.GetDeletionGracePeriodSeconds() != nil && o.GetDeletionGracePeriodSeconds() == nil {
		o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
	if o.GetGenerateName() == "" {
		o.SetGenerateName(old.GetGenerateName())
	}
}

// equal says whether two objects would be stored as the same bytes.
func equal(a, b object.Object) (bool, error) {
	x, err := codec.Store(a)
	if err != nil {
		return false, err
	}
	y, err := codec.Store(b)
	return bytes.Equal(x, y), err
}

// stale says whether an object should be written though it has not changed: it is stored in another form than it would be today.
func (a *API) stale(ctx context.Context, s *Served, old *cache.Item) (bool, error) {
	st, ok := a.store.(store.Staler)
	if !ok {
		return false, nil
	}
	return st.Stale(ctx, s.Shelf.StoreKey(old.Key))
}
