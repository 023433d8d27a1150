package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
)

// explain says what a network error means for a user, and what to do.
func explain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without method and URL, which may hold a token
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("its certificate is not signed by a known authority: add the authority to the registry's configuration: %w", err)
	case errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &verify):
		return fmt.Errorf("its certificate is not valid: %w", err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("it speaks plain HTTP: allow that in the registry's configuration: %w", err)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("its name is not known: %w", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("it does not accept connections: %w", err)
	case isTimeout(err):
		return fmt.Errorf("it did not answer in time: %w", err)
	}
	return err
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// passes says whether an error of the network may not come again. Certificates do not cure themselves, and neither does a
// name that does not exist.
func passes(err error) bool {
	var verify *tls.CertificateVerificationError
	var dns *net.DNSError
	var refused *Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &verify):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.As(err, &refused):
		return refused.passes()
	case errors.Is(err, errNoWay):
		return false
	}
	return true
}
