package custom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	mvalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/object"
)

// convert makes objects those of a version, see kinds.Custom.
func (f *family) convert(ctx context.Context, objects []object.Object, version string) ([]object.Object, error) {
	return f.converted(ctx, objects, version, f.prune)
}

// unpruned is convert, but what the schema of the version does not know stays.
func (f *family) unpruned(ctx context.Context, objects []object.Object, version string) ([]object.Object, error) {
	return f.converted(ctx, objects, version, func(*unstructured.Unstructured) {})
}

func (f *family) converted(ctx context.Context, objects []object.Object, version string, then func(*unstructured.Unstructured)) ([]object.Object, error) {
	to := f.def.Spec.Group + "/" + version
	out := make([]object.Object, len(objects))
	var other []*unstructured.Unstructured
	var at []int
	for i, o := range objects {
		u := o.(*unstructured.Unstructured)
		if out[i] = u; u.GetAPIVersion() == to {
			continue
		}
		if f.schemas[u.GroupVersionKind().Version] == nil {
			return nil, apierrors.NewInternalError(fmt.Errorf("request to convert CR from an invalid group/version: %s", u.GetAPIVersion()))
		}
		other, at = append(other, u), append(at, i)
	}
	if len(other) == 0 {
		return out, nil
	}
	made, err := f.convertAll(ctx, other, to)
	if err != nil {
		return nil, plain(err)
	}
	for i, u := range made {
		then(u)
		out[at[i]] = u
	}
	return out, nil
}

// plain is a 500 with the error's own words.
func plain(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 500, Message: err.Error()}}
}

// hooked says whether a webhook converts.
func (f *family) hooked() bool {
	c := f.def.Spec.Conversion
	return c != nil && c.Strategy == apiextensions.WebhookConverter
}

func (f *family) convertAll(ctx context.Context, list []*unstructured.Unstructured, to string) ([]*unstructured.Unstructured, error) {
	if !f.hooked() {
		out := make([]*unstructured.Unstructured, len(list))
		for i, u := range list {
			out[i] = u.DeepCopy()
			out[i].SetAPIVersion(to)
		}
		return out, nil
	}
	return f.callWebhook(ctx, list, to)
}

// callWebhook asks the conversion webhook, for all objects at once.
func (f *family) callWebhook(ctx context.Context, list []*unstructured.Unstructured, to string) ([]*unstructured.Unstructured, error) {
	hook := f.def.Spec.Conversion.Webhook
	kind := list[0].GroupVersionKind()
	failed := func(err error) error { return fmt.Errorf("conversion webhook for %v failed: %w", kind, err) }
	review := &apiextensions.ConversionReview{Request: &apiextensions.ConversionRequest{UID: uuid.NewUUID(), DesiredAPIVersion: to}}
	for _, v := range hook.ConversionReviewVersions {
		if v == "v1" || v == "v1beta1" { // they say the same in the same words
			review.SetGroupVersionKind(apiextensions.SchemeGroupVersion.WithKind("ConversionReview"))
			review.APIVersion = apiextensions.GroupName + "/" + v
			break
		}
	}
	if review.APIVersion == "" {
		return nil, errors.New("no supported conversion review versions")
	}
	for _, u := range list {
		review.Request.Objects = append(review.Request.Objects, runtime.RawExtension{Object: u})
	}
	body, err := json.Marshal(review)
	if err != nil {
		return nil, failed(err)
	}
	answer, err := f.caller.Call(ctx, hook.ClientConfig, body)
	if err != nil {
		return nil, failed(err)
	}
	var got apiextensions.ConversionReview
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, failed(err)
	}
	if err := checkAnswer(review, &got); err != nil {
		return nil, failed(err)
	}
	made := got.Response.ConvertedObjects
	if len(made) != len(list) {
		return nil, fmt.Errorf("conversion webhook for %v returned %d objects, expected %d", kind, len(made), len(list))
	}
	out := make([]*unstructured.Unstructured, len(list))
	for i, raw := range made {
		if out[i], err = accept(list[i], raw.Raw, to); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func checkAnswer(asked, got *apiextensions.ConversionReview) error {
	strict := asked.APIVersion == apiextensions.SchemeGroupVersion.String()
	switch r := got.Response; {
	case strict && got.GroupVersionKind() != asked.GroupVersionKind():
		return fmt.Errorf("expected webhook response of %v, got %v", asked.GroupVersionKind(), got.GroupVersionKind())
	case r == nil:
		return errors.New("no response provided")
	case strict && r.UID != asked.Request.UID:
		return fmt.Errorf("expected response.uid=%q, got %q", asked.Request.UID, r.UID)
	case r.Result.Status != metav1.StatusSuccess && r.Result.Message != "":
		return errors.New(r.Result.Message)
	case r.Result.Status != metav1.StatusSuccess:
		return fmt.Errorf("response.result.status was '%s', not 'Success'", r.Result.Status)
	}
	return nil
}

// accept is a converted object, if it is still the same one. Errors say what Kubernetes says, which converts one object at a time.
func accept(was *unstructured.Unstructured, raw []byte, to string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	returned := func(what string, err error) error {
		return fmt.Errorf("conversion webhook for %v returned invalid %s: %w", was.GroupVersionKind(), what, err)
	}
	switch {
	case u.GetAPIVersion() != to:
		return nil, returned("object at index 0", fmt.Errorf("invalid groupVersion (expected %v, received %v)", to, u.GetAPIVersion()))
	case u.GetKind() != was.GetKind():
		return nil, returned("object at index 0", fmt.Errorf("invalid kind (expected %v, received %v)", was.GetKind(), u.GetKind()))
	}
	if err := sameObject(was, u); err != nil {
		return nil, returned("object", err)
	}
	if err := restoreMeta(was, u); err != nil {
		return nil, returned("metadata", err)
	}
	return u, nil
}

func sameObject(was, u *unstructured.Unstructured) error {
	switch {
	case u.GetName() != was.GetName():
		return fmt.Errorf("must have the same name: %v != %v", was.GetName(), u.GetName())
	case u.GetNamespace() != was.GetNamespace():
		return fmt.Errorf("must have the same namespace: %v != %v", was.GetNamespace(), u.GetNamespace())
	case u.GetUID() != was.GetUID():
		return fmt.Errorf("must have the same UID: %v != %v", was.GetUID(), u.GetUID())
	}
	return nil
}

// restoreMeta gives u the metadata of the object that it was made of, but for labels and annotations, which a webhook may change.
func restoreMeta(was, u *unstructured.Unstructured) error {
	answered, ok := u.Object["metadata"].(map[string]any)
	if !ok {
		return errors.New("missing metadata in converted object")
	}
	meta, ok := runtime.DeepCopyJSONValue(was.Object["metadata"]).(map[string]any)
	if !ok {
		meta = map[string]any{}
	}
	u.Object["metadata"] = meta
	for _, name := range []string{"labels", "annotations"} {
		v, found := answered[name]
		if !found || v == nil {
			delete(meta, name)
			continue
		}
		texts, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, v)
		}
		all := make(map[string]string, len(texts))
		for key, t := range texts {
			text, ok := t.(string)
			if !ok {
				return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, key, t)
			}
			all[key] = text
		}
		var errs field.ErrorList
		if name == "labels" {
			errs = mvalidation.ValidateLabels(all, field.NewPath("metadata", "labels"))
		} else {
			errs = validation.ValidateAnnotations(all, field.NewPath("metadata", "annotation"))
		}
		if len(errs) > 0 {
			return errs.ToAggregate()
		}
		meta[name] = texts
	}
	return nil
}
