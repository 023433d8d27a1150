package csr

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	authorization "k8s.io/api/authorization/v1"
	certificates "k8s.io/api/certificates/v1"

	"proa.dev/client"
	"proa.dev/control"
	kinds "proa.dev/kinds/certificates"
	"proa.dev/object"
)

// Config is what the controller needs beyond control.Deps.
type Config struct {
	// Sign makes a certificate, in PEM, for the public key of somebody else as template says, but never one that outlives the authority.
	Sign func(template *x509.Certificate, public crypto.PublicKey) ([]byte, error)
	// Life is the longest life of a certificate; 0 is one year.
	Life time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Controller is the one of all certificate signing requests.
type Controller struct {
	deps   control.Deps
	config Config
}

// New makes the controller; see Run. It needs Config.Sign.
func New(d control.Deps, c Config) (*Controller, error) {
	if c.Sign == nil {
		return nil, errors.New("csr: nothing to sign with")
	}
	if c.Life == 0 {
		c.Life = 365 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Controller{d, c}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "csr", View: c.deps.View, Log: c.deps.Logger("csr"), Do: c,
		Sources: []control.Source{control.Self[certificates.CertificateSigningRequest]()},
	}
	return l.Run(ctx)
}

// Reconcile approves, signs or deletes one request. Safe to repeat.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	r, ok := client.Lookup[certificates.CertificateSigningRequest](c.deps.View, key)
	if !ok || r.DeletionTimestamp != nil {
		return control.Done, nil
	}
	now := c.config.Now()
	until := expiry(r)
	if !until.IsZero() && !until.After(now) {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Delete, Object: r}})
	}
	changes, err := c.plan(ctx, r, now)
	if err != nil {
		return control.Done, err
	}
	if err := control.Apply(ctx, c.deps.Client, c.deps.Events, changes); err != nil {
		return control.Done, err
	}
	if until.IsZero() {
		return control.Done, nil
	}
	return control.Until(until, now), nil
}

// plan is the next step of a request that stays.
func (c *Controller) plan(ctx context.Context, r *certificates.CertificateSigningRequest, now time.Time) ([]control.Change, error) {
	switch state := stateOf(r); {
	case state == pending:
		for _, w := range ways {
			if !w.fits(r) {
				continue
			}
			allowed, err := c.allowed(ctx, r, w.sub)
			if err != nil {
				return nil, err
			}
			if allowed {
				return approve(r, w.message), nil
			}
		}
		return nil, nil
	case state == approved && signers[r.Spec.SignerName] != nil:
		q, err := kinds.Parse(r.Spec.Request)
		if err != nil {
			return nil, fmt.Errorf("read request: %w", err)
		}
		if err := signers[r.Spec.SignerName](q, r.Spec.Usages); err != nil {
			return refuse(r, err, now), nil
		}
		if err := q.CheckSignature(); err != nil {
			return nil, fmt.Errorf("check the request's signature: %w", err)
		}
		cert, err := c.config.Sign(template(q, r.Spec, c.config.Life, now), q.PublicKey)
		if err != nil {
			return nil, err
		}
		return issue(r, cert), nil
	}
	return nil, nil
}

// allowed asks the API server whether who made the request may have it approved without a person.
func (c *Controller) allowed(ctx context.Context, r *certificates.CertificateSigningRequest, sub string) (bool, error) {
	q := &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups,
		ResourceAttributes: &authorization.ResourceAttributes{Verb: "create", Group: certificates.GroupName, Version: "*",
			Resource: "certificatesigningrequests", Subresource: sub},
	}}
	for k, v := range r.Spec.Extra {
		if q.Spec.Extra == nil {
			q.Spec.Extra = map[string]authorization.ExtraValue{}
		}
		q.Spec.Extra[k] = authorization.ExtraValue(v)
	}
	answer, err := client.Create(ctx, c.deps.Client, q)
	if err != nil {
		return false, fmt.Errorf("ask whether %s may have %s approved: %w", r.Spec.Username, sub, err)
	}
	return answer.Status.Allowed, nil
}
