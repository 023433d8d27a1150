package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	review "k8s.io/api/admission/v1"
	reviewbeta "k8s.io/api/admission/v1beta1"
	registration "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/cel"
	calls "proa.dev/apiserver/webhook"
)

// failedCall says that a webhook could not be asked, or answered nonsense: it has refused nothing.
type failedCall struct {
	name   string
	reason error
}

func (e *failedCall) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.name, e.reason)
}

func (e *failedCall) Unwrap() error { return e.reason }

// subject is a request as the rule of a webhook sees it.
type subject struct {
	match    rules.Match
	now, old runtime.Object
}

// call asks a webhook. It is nil if the webhook allows the request, a *failedCall if it could not be asked, and the refusal else.
func (p *plugin) call(ctx context.Context, h *hook, r *admission.Request, s subject) (*answer, error) {
	began := time.Now()
	a, err := p.ask(ctx, h, r, s)
	how := admission.Answer{Code: http.StatusOK, Rejected: err != nil}
	var failed *failedCall
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &failed):
		how = admission.Answer{Code: http.StatusServiceUnavailable, Failed: true, Rejected: !h.ignore}
	case errors.As(err, &status):
		how.Code = int(status.Status().Code)
	}
	p.meter.Hook(h.name, h.mutating, r.Op, time.Since(began), how)
	return a, err
}

// ask is call, unmeasured.
func (p *plugin) ask(ctx context.Context, h *hook, r *admission.Request, s subject) (*answer, error) {
	if r.DryRun {
		switch {
		case h.sideEffects == nil:
			//lint:ignore ST1005 Kubernetes' own words
			return nil, &failedCall{h.name, errors.New("Webhook SideEffects is nil")}
		case *h.sideEffects != registration.SideEffectClassNone && *h.sideEffects != registration.SideEffectClassNoneOnDryRun:
			return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.name))
		}
	}
	uid := types.UID(uuid.NewUUID())
	version, body, err := question(h, uid, r, s)
	if err != nil {
		return nil, &failedCall{h.name, err}
	}
	if h.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
		defer cancel()
	}
	text, err := p.clients.Post(ctx, h.config, body)
	if err != nil {
		var config *calls.ErrConfig
		if errors.As(err, &config) {
			return nil, &failedCall{h.name, fmt.Errorf("could not get REST client: %w", config.Err)}
		}
		return nil, &failedCall{h.name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	a, err := read(text, version)
	if err != nil {
		return nil, &failedCall{h.name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	if err := a.verify(version, uid, h.mutating); err != nil {
		return nil, &failedCall{h.name, fmt.Errorf("received invalid webhook response: %w", err)}
	}
	for k, v := range a.annotations {
		audit.Annotate(ctx, h.name+"/"+k, v)
	}
	for _, w := range a.warnings {
		admission.Warn(ctx, w)
	}
	if !a.allowed {
		return nil, refusal(h.name, a.result)
	}
	return a, nil
}

// question is the AdmissionReview that is sent, in the first version that both sides speak.
func question(h *hook, uid types.UID, r *admission.Request, s subject) (version string, body []byte, err error) {
	req := cel.RequestOf(r, s.match)
	req.UID = uid
	req.Object.Object, req.OldObject.Object = s.now, s.old
	for _, version := range h.versions {
		switch version {
		case "v1":
			q := review.AdmissionReview{Request: req}
			q.SetGroupVersionKind(review.SchemeGroupVersion.WithKind("AdmissionReview"))
			body, err = json.Marshal(q)
		case "v1beta1":
			// Both versions of a request have the same fields.
			q := struct {
				Kind       string                   `json:"kind"`
				APIVersion string                   `json:"apiVersion"`
				Request    *review.AdmissionRequest `json:"request"`
			}{"AdmissionReview", reviewbeta.SchemeGroupVersion.String(), req}
			body, err = json.Marshal(q)
		default:
			continue
		}
		if err != nil {
			return "", nil, fmt.Errorf("could not encode the admission review: %w", err)
		}
		return version, body, nil
	}
	return "", nil, errors.New("could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}
