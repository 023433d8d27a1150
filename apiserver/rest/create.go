package rest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/cache"
	"proa.dev/client"
	"proa.dev/object"
	"proa.dev/store"
)

// nameTries is how often a generated name is made anew when it is taken.
const nameTries = 8

// Create stores a new object, or posts o to a subresource of the object that t names. o, in the version that s serves,
// belongs to the API from then on.
func (a *API) Create(ctx context.Context, s *Served, t client.Target, o object.Object, opt metav1.CreateOptions) (Answer, error) {
	if errs := mvalidation.ValidateCreateOptions(&opt); len(errs) > 0 {
		return Answer{}, apierrors.NewInvalid(optionsKind("CreateOptions"), "", errs)
	}
	if t.Sub != "" {
		return a.createSub(ctx, s, t, o, opt)
	}
	if s.Kind.Virtual {
		return a.review(ctx, s, t, o, opt)
	}
	o, err := s.In(o)
	if err != nil {
		return Answer{}, err
	}
	if err := matchNamespace(s, t.Namespace, o); err != nil {
		return Answer{}, err
	}
	// A version that is none is taken for none, and no version at all matters to a trial.
	if rev, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64); err == nil && rev != 0 && !dry(opt.DryRun) {
		return Answer{}, bare(errors.New("resourceVersion should not be set on objects to be created"))
	}
	if !dry(opt.DryRun) {
		o.SetResourceVersion("")
	}
	wipeMeta(o)
	dedupOwners(ctx, o, false)
	prepared(s, o)
	a.tracked(ctx, s, "", nil, o, opt.FieldManager)
	generated := o.GetName() == "" && o.GetGenerateName() != ""
	for try := 1; ; try++ {
		next := o
		if generated && try < nameTries {
			next = o.DeepCopyObject().(object.Object)
		}
		it, err := a.create(ctx, s, next, opt, generated)
		if err == nil {
			return Answer{Item: it, Created: true}, nil
		}
		if generated && apierrors.IsAlreadyExists(err) {
			if try < nameTries {
				continue
			}
			err = apierrors.NewGenerateNameConflict(s.group(), next.GetName(), 1)
		}
		return Answer{}, err
	}
}

// prepared gives a new object its defaults and its kind.
func prepared(s *Served, o object.Object) {
	s.Kind.Default(o)
	if s.Kind.Custom == nil { // else validation says what is wrong with it
		o.GetObjectKind().SetGroupVersionKind(s.Kind.GVK())
	}
}

// create stores o, whose managed fields are known.
func (a *API) create(ctx context.Context, s *Served, o object.Object, opt metav1.CreateOptions, generate bool) (_ *cache.Item, err error) {
	if err := closing(s, o.GetName()); err != nil {
		return nil, err
	}
	r := createWith(a.request(ctx, s, admission.Create, ""), opt)
	r.Key, r.Object = object.KeyOf(o), o
	defer func() {
		if err != nil || r.DryRun {
			r.Failed()
		}
	}()
	was, had := o, fieldsBefore(o)
	if err := a.admission.Admit(ctx, r); err != nil {
		return nil, failure(err)
	}
	o = r.Object
	keepFields(ctx, was, o, had)
	dedupOwners(ctx, o, true)
	if err := matchNamespace(s, r.Key.Namespace, o); err != nil {
		return nil, err
	}
	if generate && o.GetName() == "" {
		o.SetName(GenerateName(o.GetGenerateName()))
	}
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.Time{Time: a.now().Truncate(1e9)})
	if s.Kind.Status && !s.Kind.CreateStatus {
		clearStatus(o)
	}
	if s.Kind.Generation {
		o.SetGeneration(1)
	}
	if s.Kind.Asked != nil {
		s.Kind.Asked(o, userInfo(r.User))
	}
	s.Kind.Prepare(o, nil)
	r.Key = object.KeyOf(o)
	if errs := ofVersion(s, o, nil, slices.Concat(checkMeta(s, o), s.Kind.Validate(o), s.Kind.ValidateCreate(o))); len(errs) > 0 {
		return nil, apierrors.NewInvalid(groupKindOf(s, o), o.GetName(), errs)
	}
	for _, w := range s.Kind.Warn(o, nil) {
		Warn(ctx, w)
	}
	if err := a.admission.Check(ctx, r); err != nil {
		return nil, failure(err)
	}
	s.asStored(o)
	if r.DryRun {
		if _, ok := s.Shelf.Get(r.Key); ok {
			return nil, taken(s, r.Key)
		}
		return s.dryItem(ctx, o)
	}
	it, err := a.write(ctx, s, r.Key, o, store.Absent)
	if _, lost := cache.ErrConflict(err); lost {
		return nil, taken(s, r.Key)
	}
	return it, failure(err)
}

// ofVersion adds to errs what only the version of the request asks for, and gives fields their names there.
func ofVersion(s *Served, o, old object.Object, errs field.ErrorList) field.ErrorList {
	if s.Also == nil {
		return errs
	}
	for _, err := range errs {
		if name, ok := s.Also.Names[err.Field]; ok {
			err.Field = name
		}
	}
	if s.Also.Validate != nil {
		errs = append(errs, s.Also.Validate(o, old)...)
	}
	return errs
}

// taken is the 409 of a name that another object has, be it on its way out.
func taken(s *Served, key object.Key) error {
	err := apierrors.NewAlreadyExists(s.group(), key.Name)
	if it, ok := s.Shelf.Get(key); ok && it.Object.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

func optionsKind(kind string) schema.GroupKind {
	return schema.GroupKind{Group: metav1.GroupName, Kind: kind}
}

// matchNamespace gives o the namespace of the request, or says that it has another one.
func matchNamespace(s *Served, namespace string, o object.Object) error {
	if !s.Namespaced {
		o.SetNamespace("")
		return nil
	}
	switch {
	case namespace == "":
		return apierrors.NewBadRequest("an empty namespace may not be set during creation")
	case o.GetNamespace() == "":
		o.SetNamespace(namespace)
	case o.GetNamespace() != namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// wipeMeta takes away what only the server may set.
func wipeMeta(o object.Object) {
	o.SetUID(types.UID(""))
	o.SetCreationTimestamp(metav1.Time{})
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetSelfLink("")
}

// dedupOwners leaves each owner reference once. It is asked before admission (but for patches) and again after it.
func dedupOwners(ctx context.Context, o object.Object, admitted bool) {
	refs := o.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	kept := make([]metav1.OwnerReference, 0, len(refs))
	var twice []string
	for _, r := range refs {
		if slices.ContainsFunc(kept, func(k metav1.OwnerReference) bool { return k.UID == r.UID && equality.Semantic.DeepEqual(k, r) }) {
			twice = append(twice, string(r.UID))
			continue
		}
		kept = append(kept, r)
	}
	if len(twice) == 0 {
		return
	}
	when := ""
	if admitted {
		when = " after mutating admission happens"
	}
	Warn(ctx, fmt.Sprintf(".metadata.ownerReferences contains duplicate entries%s; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %s",
		when, strings.Join(twice, ", ")))
	o.SetOwnerReferences(kept)
}

// suffix letters: without vowels and look-alikes, so that no words come out.
const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

// GenerateName is base with five random letters, cut so that it has at most 63.
func GenerateName(base string) string {
	if len(base) > 58 {
		base = base[:58]
	}
	b := []byte(base)
	for range 5 {
		b = append(b, suffixLetters[rand.IntN(len(suffixLetters))])
	}
	return string(b)
}
