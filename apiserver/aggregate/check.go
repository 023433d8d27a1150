package aggregate

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/kinds/apiregistration"
	"proa.dev/object"
)

// Times of the checks of one backend.
const (
	checkEvery   = 30 * time.Second // a server may fall silent without any object changing
	firstRetry   = 500 * time.Millisecond
	answerWithin = 5 * time.Second
	attempts     = 5 // at endpoints that chance chooses: one that answers is enough
	refreshEvery = time.Minute
)

// self is who this server is to extension servers.
func self() authn.User {
	return authn.User{Name: "system:kube-aggregator", Groups: []string{authn.Masters}}
}

// keep looks after the backend until ctx ends: is it there, and what does it serve.
func (b *backend) keep(ctx context.Context, c client.Client) {
	defer b.close()
	retry := firstRetry
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.bell:
			retry = firstRetry
		case <-t.C:
		}
		cond, probed := b.look(ctx)
		if ctx.Err() != nil {
			return
		}
		err := b.tell(ctx, c, cond)
		if cond.Status == registration.ConditionTrue {
			err = first(err, b.refresh(ctx))
		} else {
			b.outdated()
		}
		wait := checkEvery
		if err != nil || probed && cond.Status != registration.ConditionTrue {
			wait, retry = retry, min(2*retry, checkEvery)
		} else {
			retry = firstRetry
		}
		if err != nil && ctx.Err() == nil {
			b.config.Log.Debug("aggregation", "version", b.version.String(), "err", err)
		}
		t.Reset(wait)
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// look says what the condition Available should be. probed: the server was asked.
func (b *backend) look(ctx context.Context) (c registration.APIServiceCondition, probed bool) {
	service, _ := client.Lookup[core.Service](b.view, b.at)
	c, ok := reachable(b.at, b.port, service, slicesOf(b.view, b.at))
	if !ok {
		return c, false
	}
	if err := b.probe(ctx); err != nil {
		return unavailable("FailedDiscoveryCheck", err.Error()), true
	}
	return registration.APIServiceCondition{Type: registration.Available, Status: registration.ConditionTrue, Reason: "Passed", Message: "all checks passed"}, true
}

func unavailable(reason, message string) registration.APIServiceCondition {
	return registration.APIServiceCondition{Type: registration.Available, Status: registration.ConditionFalse, Reason: reason, Message: message}
}

// reachable says whether there is an endpoint to ask: by the service, nil if there is none, and its slices alone.
func reachable(at object.Key, port int32, s *core.Service, all []*discovery.EndpointSlice) (c registration.APIServiceCondition, ok bool) {
	if s == nil {
		return unavailable("ServiceNotFound", fmt.Sprintf("service/%s in %q is not present", at.Name, at.Namespace)), false
	}
	if s.Spec.Type != core.ServiceTypeClusterIP {
		return c, true
	}
	name, found := portName(s, port)
	if !found {
		return unavailable("ServicePortError", fmt.Sprintf("service/%s in %q is not listening on port %d", at.Name, at.Namespace, port)), false
	}
	if len(all) == 0 {
		return unavailable("EndpointsNotFound", fmt.Sprintf("cannot find endpointslices for service/%s in %q", at.Name, at.Namespace)), false
	}
	if !slices.ContainsFunc(all, func(e *discovery.EndpointSlice) bool { return len(ready(e, name)) > 0 }) {
		return unavailable("MissingEndpoints", fmt.Sprintf("endpointslices for service/%s in %q have no addresses with port name %q",
			at.Name, at.Namespace, name)), false
	}
	return c, true
}

// probe asks for the resources of the version: once, and where that fails at several endpoints at once.
func (b *backend) probe(ctx context.Context) error {
	if b.bad != nil {
		return b.bad
	}
	if b.probeOnce(ctx) == nil {
		return nil
	}
	results := make(chan error, attempts)
	for range attempts {
		go func() { results <- b.probeOnce(ctx) }() // each ends within answerWithin
	}
	var err error
	for range attempts {
		if err = <-results; err == nil {
			return nil
		}
	}
	return err
}

func (b *backend) probeOnce(ctx context.Context) error {
	path := "/apis/" + b.version.String()
	if b.version.Group == "" {
		path = "/api/" + b.version.Version
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := b.ask(ctx, path, nil)
	if err != nil {
		b.plain.CloseIdleConnections()
		return err
	}
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return fmt.Errorf("failing or missing response from %v: bad status from %v: %d", resp.Request.URL, resp.Request.URL, resp.StatusCode)
	}
	return nil
}

// ask sends a GET to one endpoint, as this server itself.
func (b *backend) ask(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	address, err := b.config.Resolve(b.view, b.at, b.port)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	identify(r.Header, self())
	resp, err := b.plain.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: Get %q: %w", r.URL, r.URL, err)
	}
	return resp, nil
}

// tell writes the condition, if it is news.
func (b *backend) tell(ctx context.Context, c client.Client, cond registration.APIServiceCondition) error {
	now, ok := client.Lookup[registration.APIService](b.view, object.Key{Name: b.service.Load().Name})
	if !ok {
		return nil // deleted: this backend is about to end
	}
	old := apiregistration.Condition(now, registration.Available)
	if old != nil && old.Status == cond.Status && old.Reason == cond.Reason && old.Message == cond.Message {
		return nil
	}
	next := object.Clone(now)
	cond.LastTransitionTime = metav1.Now()
	apiregistration.SetCondition(next, cond)
	b.config.Log.Info("API of another server", "version", b.version.String(), "available", cond.Status, "reason", cond.Reason)
	_, err := client.UpdateStatus(ctx, c, next)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		b.wake() // it has changed meanwhile
		return nil
	}
	return err
}
