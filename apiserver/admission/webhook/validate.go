package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/audit"
)

// validateFailedOpen begins the names of the audit annotations that say which webhooks were not asked.
const validateFailedOpen = "failed-open.validating.webhook.admission.k8s.io/"

// check is the step ValidatingAdmissionWebhook.
func (p *plugin) check(ctx context.Context, r *admission.Request) error {
	if all := p.validating.hooks.Load(); all != nil && len(*all) == 0 || rules.Exempt(r) {
		return nil
	}
	hooks, err := p.validating.list(ctx)
	if err != nil {
		return err
	}
	type invocation struct {
		h *hook
		s subject
	}
	var asked []invocation
	seen := map[schema.GroupVersionKind]subject{}
	for i := range hooks {
		m, ok, err := p.wants(ctx, &hooks[i], r)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		s, ok := seen[m.Kind]
		if !ok {
			if s, err = see(ctx, r, m); err != nil {
				return err
			}
			seen[m.Kind] = s
		}
		s.match = m
		asked = append(asked, invocation{&hooks[i], s})
	}
	if len(asked) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return outOfTime()
	}
	errs := make([]error, len(asked))
	var wg sync.WaitGroup // this call waits for all, so that each of them has had its say
	for i, a := range asked {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					errs[i] = apierrors.NewInternalError(fmt.Errorf("ValidatingAdmissionWebhook/%v has panicked: %v", a.h.name, v))
				}
			}()
			errs[i] = p.validate(ctx, a.h, r, a.s, i)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// validate asks one webhook; n is its place among those asked.
func (p *plugin) validate(ctx context.Context, h *hook, r *admission.Request, s subject, n int) error {
	_, err := p.call(ctx, h, r, s)
	var failed *failedCall
	switch {
	case !errors.As(err, &failed):
		return err
	case !h.ignore:
		return apierrors.NewInternalError(failed)
	}
	if !errors.Is(failed, context.Canceled) {
		p.failedOpen(ctx, h, failed)
		audit.Annotate(ctx, fmt.Sprintf("%sround_0_index_%d", validateFailedOpen, n), h.name)
	}
	return nil
}
