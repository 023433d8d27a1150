package webhook

import (
	"fmt"
	"net/http"
	"sync"

	review "k8s.io/api/admission/v1"
	reviewbeta "k8s.io/api/admission/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
)

// answer is what a webhook says, of either version of AdmissionReview.
type answer struct {
	kind        schema.GroupVersionKind
	absent      bool // there is no response
	uid         types.UID
	allowed     bool
	result      *metav1.Status
	patch       []byte
	patchType   *string
	warnings    []string
	annotations map[string]string
}

// decoder reads AdmissionReviews as clients of Kubernetes do, with their messages for what cannot be read. It is made when the first
// webhook answers.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{reviewbeta.AddToScheme, review.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(fmt.Sprintf("register AdmissionReview: %v", err)) // only wrong code gets here
		}
	}
	return serializer.NewCodecFactory(scheme).LegacyCodec(reviewbeta.SchemeGroupVersion, review.SchemeGroupVersion)
})

// read decodes the answer to a review of this version.
func read(text []byte, version string) (*answer, error) {
	if version == "v1beta1" {
		var in reviewbeta.AdmissionReview
		if err := into(text, &in); err != nil {
			return nil, err
		}
		a := &answer{absent: in.Response == nil}
		if in := in.Response; in != nil {
			a.allowed, a.result, a.patch, a.warnings, a.annotations = in.Allowed, in.Result, in.Patch, in.Warnings, in.AuditAnnotations
			if len(a.patch) > 0 {
				t := string(review.PatchTypeJSONPatch) // there was no other, and nobody checked
				a.patchType = &t
			}
		}
		return a, nil
	}
	var in review.AdmissionReview
	if err := into(text, &in); err != nil {
		return nil, err
	}
	a := &answer{kind: in.GroupVersionKind(), absent: in.Response == nil}
	if in := in.Response; in != nil {
		a.uid, a.allowed, a.result, a.patch, a.warnings, a.annotations = in.UID, in.Allowed, in.Result, in.Patch, in.Warnings, in.AuditAnnotations
		if in.PatchType != nil {
			t := string(*in.PatchType)
			a.patchType = &t
		}
	}
	return a, nil
}

// into decodes text into o. A Status in its place is an error of its own.
func into(text []byte, o runtime.Object) error {
	out, _, err := decoder().Decode(text, nil, o)
	if err != nil {
		return err
	}
	if s, ok := out.(*metav1.Status); ok && s.Status != metav1.StatusSuccess {
		return apierrors.FromObject(s)
	}
	return nil
}

// verify says what is wrong with an answer.
func (a *answer) verify(version string, uid types.UID, mutating bool) error {
	if a.absent {
		return fmt.Errorf("webhook response was absent")
	}
	if version == "v1beta1" {
		return nil
	}
	if a.uid != uid {
		return fmt.Errorf("expected response.uid=%q, got %q", uid, a.uid)
	}
	if want := review.SchemeGroupVersion.WithKind("AdmissionReview"); a.kind != want {
		return fmt.Errorf("expected webhook response of %v, got %v", want, a.kind)
	}
	switch has := len(a.patch) > 0; {
	case !mutating && has:
		return fmt.Errorf("validating webhook may not return response.patch")
	case !mutating && a.patchType != nil:
		return fmt.Errorf("validating webhook may not return response.patchType")
	case has && a.patchType == nil:
		return fmt.Errorf("webhook returned response.patch but not response.patchType")
	case !has && a.patchType != nil:
		return fmt.Errorf("webhook returned response.patchType but not response.patch")
	case a.patchType != nil && *a.patchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *a.patchType)
	}
	return nil
}

// refusal is the error by which a webhook refuses a request.
func refusal(name string, result *metav1.Status) error {
	if result == nil {
		result = &metav1.Status{}
	}
	s := *result
	s.Status, s.Code = metav1.StatusFailure, max(s.Code, http.StatusBadRequest)
	if result.Status != "" && result.Status != metav1.StatusSuccess {
		s.Status = result.Status
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case s.Message != "":
		s.Message = denied + ": " + s.Message
	case s.Reason != "":
		s.Message = denied + ": " + string(s.Reason)
	default:
		s.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: s}
}
