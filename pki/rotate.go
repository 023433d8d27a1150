package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"proa.dev/kit/atomicfile"
)

// retryAfter is the pause after a renewal that failed. There is a third of the life left for many of them.
const retryAfter = time.Minute

// longestWait bounds one timer: timers stand still while a machine sleeps, so after a long sleep a renewal comes at most so late.
const longestWait = 6 * time.Hour

// Source says where the leaf of a Rotating comes from.
type Source struct {
	// Path keeps certificate and key over restarts, in one file of mode 0600; empty: they live in memory.
	Path string
	// Issue gets a new pair, PEM.
	Issue func(ctx context.Context) (certPEM, keyPEM []byte, err error)
	// Fits says why a stored certificate may not be used any more; nil: only its time counts.
	Fits func(*x509.Certificate) error
	// Log gets a line per renewal; nil is slog.Default().
	Log *slog.Logger
}

// Rotating is a leaf that is renewed at two thirds of its life, while connections use it.
type Rotating struct {
	src  Source
	pair atomic.Pointer[tls.Certificate]
}

// NewRotating loads the stored leaf, or issues one if there is none or it is due. Run keeps it fresh.
func NewRotating(ctx context.Context, src Source) (*Rotating, error) {
	if src.Log == nil {
		src.Log = slog.Default()
	}
	r := &Rotating{src: src}
	why := r.load(time.Now())
	if why == nil {
		return r, nil
	}
	if !errors.Is(why, os.ErrNotExist) {
		src.Log.Info("renewing certificate", "path", src.Path, "why", why)
	}
	return r, r.renew(ctx)
}

// Rotating is a leaf of this cluster's authority; path may be empty.
func (c *Cluster) Rotating(path string, leaf Leaf, log *slog.Logger) (*Rotating, error) {
	return NewRotating(context.Background(), Source{
		Path: path, Log: log,
		Issue: func(context.Context) ([]byte, []byte, error) { return c.Issue(leaf) },
		Fits: func(cert *x509.Certificate) error {
			if err := cert.CheckSignatureFrom(c.ca.cert); err != nil {
				return fmt.Errorf("it is not from this cluster's authority: %w", err)
			}
			return leaf.fits(cert)
		},
	})
}

// RotatingFrontProxy is a leaf of the authority of front proxies, which lives in memory.
func (c *Cluster) RotatingFrontProxy(leaf Leaf, log *slog.Logger) (*Rotating, error) {
	return NewRotating(context.Background(), Source{
		Log: log, Issue: func(context.Context) ([]byte, []byte, error) { return c.IssueFrontProxy(leaf) },
	})
}

// load takes the stored pair, or says why not.
func (r *Rotating) load(now time.Time) error {
	if r.src.Path == "" {
		return os.ErrNotExist
	}
	data, err := os.ReadFile(r.src.Path)
	if err != nil {
		return err
	}
	pair, err := loadPair(data)
	if err != nil {
		return err
	}
	if now.Before(pair.Leaf.NotBefore) || !now.Before(due(pair.Leaf)) {
		return fmt.Errorf("it is valid from %s to %s", pair.Leaf.NotBefore.Format(time.DateTime), pair.Leaf.NotAfter.Format(time.DateTime))
	}
	if r.src.Fits != nil {
		if err := r.src.Fits(pair.Leaf); err != nil {
			return err
		}
	}
	r.pair.Store(pair)
	return nil
}

func (r *Rotating) renew(ctx context.Context) error {
	cert, key, err := r.src.Issue(ctx)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	data := slices.Concat(cert, key)
	pair, err := loadPair(data)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if r.src.Path != "" {
		if err := atomicfile.Write(r.src.Path, data, 0o600); err != nil {
			return fmt.Errorf("renew certificate: %w", err)
		}
	}
	r.pair.Store(pair)
	return nil
}

// due is when a leaf is renewed.
func due(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// Run renews the leaf in time until ctx ends. A renewal that fails is tried again each minute.
func (r *Rotating) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		wait := time.Until(due(r.pair.Load().Leaf))
		if wait <= 0 {
			if err := r.renew(ctx); err != nil {
				r.src.Log.Warn("renew certificate", "path", r.src.Path, "expires", r.pair.Load().Leaf.NotAfter, "err", err)
			} else {
				r.src.Log.Info("certificate renewed", "path", r.src.Path, "expires", r.pair.Load().Leaf.NotAfter)
			}
			// Also after success: an issuer that hands out certificates which are due at once must not spin.
			wait = max(retryAfter, time.Until(due(r.pair.Load().Leaf)))
		}
		t.Reset(min(wait, longestWait))
	}
}

// Leaf is the certificate in use.
func (r *Rotating) Leaf() *x509.Certificate { return r.pair.Load().Leaf }

// GetCertificate is for tls.Config of a server.
func (r *Rotating) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.pair.Load(), nil
}

// GetClientCertificate is for tls.Config of a client.
func (r *Rotating) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.pair.Load(), nil
}
