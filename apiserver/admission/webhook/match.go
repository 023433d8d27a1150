package webhook

import (
	"context"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/cel"
)

// wants says whether h is to be asked about r, and in which version.
func (p *plugin) wants(ctx context.Context, h *hook, r *admission.Request) (m rules.Match, ok bool, err error) {
	m, ok = rules.Find(r, h.rules, h.match)
	if !ok {
		return m, false, nil
	}
	if h.broken != nil {
		return m, false, apierrors.NewInternalError(h.broken)
	}
	in, status := h.selectors.MatchesNamespace(r, p.view)
	if status == nil && !in || !h.selectors.MatchesObject(r) {
		return m, false, nil
	}
	if status != nil {
		return m, false, status
	}
	if h.compile == nil {
		return m, true, nil
	}
	s, err := cel.NewSubject(ctx, r, m, p.authz)
	if err != nil {
		return m, false, apierrors.NewInternalError(err)
	}
	ok, err = h.compile().Match(ctx, s.Input(nil, nil))
	switch {
	case err == nil:
		return m, ok, nil
	case h.ignore:
		return m, false, nil
	}
	p.log.Warn("match conditions fail, so the request does", "webhook", h.name, "err", err)
	return m, false, apierrors.NewForbidden(r.Served.GroupVersionResource.GroupResource(), r.Name(), err)
}

// see is r as m sees it.
func see(ctx context.Context, r *admission.Request, m rules.Match) (s subject, err error) {
	s.match = m
	if s.now, err = r.Out(ctx, r.Object, m.Kind); err == nil {
		s.old, err = r.Out(ctx, r.Old, m.Kind)
	}
	if err != nil {
		return s, apierrors.NewInternalError(err)
	}
	return s, nil
}

// failedOpen logs that a webhook could not be asked, and that this does not matter.
func (p *plugin) failedOpen(ctx context.Context, h *hook, err error) {
	p.meter.FailedOpen(h.name, h.mutating)
	p.log.LogAttrs(ctx, slog.LevelWarn, "webhook cannot be asked, so it agrees", slog.String("webhook", h.name), slog.Any("err", err))
}

// outOfTime is the error of a request whose time is over.
func outOfTime() error {
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}
