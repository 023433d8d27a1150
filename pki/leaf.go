package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"time"

	"proa.dev/kit/atomicfile"
)

// Leaf says what a certificate is for. Kubernetes reads the common name as user and the organizations as groups.
type Leaf struct {
	Name   string   // common name
	Groups []string // organizations
	DNS    []string // what a server is called; none: no server certificate
	IPs    []net.IP
	Client bool          // may identify a client
	Life   time.Duration // 0 is one year; never longer than that of the authority
}

func (l Leaf) usages() (u []x509.ExtKeyUsage) {
	if len(l.DNS)+len(l.IPs) > 0 {
		u = append(u, x509.ExtKeyUsageServerAuth)
	}
	if l.Client {
		u = append(u, x509.ExtKeyUsageClientAuth)
	}
	return u
}

// fits says why cert is not what l asks for; nil if it is.
func (l Leaf) fits(cert *x509.Certificate) error {
	if cert.Subject.CommonName != l.Name || !sameSet(cert.Subject.Organization, l.Groups) {
		return fmt.Errorf("it is for %s, not %s", cert.Subject.CommonName, l.Name)
	}
	for _, name := range l.DNS {
		if !slices.Contains(cert.DNSNames, name) {
			return fmt.Errorf("it lacks the name %s", name)
		}
	}
	for _, ip := range l.IPs {
		if !slices.ContainsFunc(cert.IPAddresses, ip.Equal) {
			return fmt.Errorf("it lacks the address %s", ip)
		}
	}
	for _, u := range l.usages() {
		if !slices.Contains(cert.ExtKeyUsage, u) {
			return errors.New("it lacks a key usage")
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// Issue makes a key and its certificate, both PEM.
func (c *Cluster) Issue(l Leaf) (certPEM, keyPEM []byte, err error) { return c.ca.issue(l, time.Now()) }

// IssueFrontProxy is Issue by the authority of front proxies.
func (c *Cluster) IssueFrontProxy(l Leaf) (certPEM, keyPEM []byte, err error) {
	return c.front.issue(l, time.Now())
}

// Server makes a serving certificate. The first name, or address, is its common name.
func (c *Cluster) Server(names []string, ips []net.IP) (certPEM, keyPEM []byte, err error) {
	l := Leaf{DNS: names, IPs: ips}
	switch {
	case len(names) > 0:
		l.Name = names[0]
	case len(ips) > 0:
		l.Name = ips[0].String()
	default:
		return nil, nil, errors.New("issue server certificate: no name and no address")
	}
	return c.Issue(l)
}

// Client makes the certificate of a user in groups.
func (c *Cluster) Client(user string, groups []string) (certPEM, keyPEM []byte, err error) {
	return c.Issue(Leaf{Name: user, Groups: groups, Client: true})
}

// SignTemplate makes a certificate for public that says what t says, but for the serial number, and an end that is never after that
// of the authority. The caller has decided that the requester may have it.
func (c *Cluster) SignTemplate(t *x509.Certificate, public crypto.PublicKey) (certPEM []byte, err error) {
	end := c.ca.cert.NotAfter
	if !t.NotBefore.Before(end) || !time.Now().Before(end) {
		return nil, fmt.Errorf("issue certificate for %s: the authority ended at %s", t.Subject.CommonName, end)
	}
	if t.NotAfter.After(end) {
		t.NotAfter = end
	}
	der, err := create(t, c.ca.cert, public, c.ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", t.Subject.CommonName, err)
	}
	return encodeCert(der), nil
}

func (a *authority) issue(l Leaf, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if keyPEM, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	certPEM, err = a.sign(key.Public(), l, now)
	return certPEM, keyPEM, err
}

func (a *authority) sign(public crypto.PublicKey, l Leaf, now time.Time) ([]byte, error) {
	life := l.Life
	if life == 0 {
		life = leafLife
	}
	t := &x509.Certificate{
		Subject:  pkix.Name{CommonName: l.Name, Organization: l.Groups},
		DNSNames: l.DNS, IPAddresses: l.IPs,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.usages(), BasicConstraintsValid: true,
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	der, err := create(t, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate for %s: %w", l.Name, err)
	}
	return encodeCert(der), nil
}

// renew makes the self-signed certificate of the authority and writes it.
func (a *authority) renew(path, cn string, now time.Time) error {
	der, err := x509.MarshalPKIXPublicKey(a.key.Public())
	if err != nil {
		return fmt.Errorf("write certificate %s: %w", path, err)
	}
	id := sha1.Sum(der) // a name for the key, not a protection (RFC 5280 section 4.2.1.2)
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: cn},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, SubjectKeyId: id[:],
	}
	if der, err = create(t, t, a.key.Public(), a.key); err != nil {
		return fmt.Errorf("write certificate %s: %w", path, err)
	}
	a.pem = encodeCert(der)
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("write certificate %s: %w", path, err)
	}
	return atomicfile.Write(path, a.pem, 0o600)
}

func create(t, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	// 127 random bits: positive and at most 20 octets (RFC 5280 section 4.1.2.2).
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	t.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, t, parent, public, signer)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// keyFile reads a private key, or makes it where there is no file. Keys of other kinds than ours (RSA from another tool) work.
func keyFile(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		key, err := newKey()
		if err != nil {
			return nil, fmt.Errorf("make key %s: %w", path, err)
		}
		if data, err = encodeKey(key); err != nil {
			return nil, fmt.Errorf("make key %s: %w", path, err)
		}
		return key, atomicfile.Write(path, data, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return key, nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in it")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block of type %q is no private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// loadPair reads a key and certificate in one PEM text.
func loadPair(data []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, err
		}
	}
	return &pair, nil
}
