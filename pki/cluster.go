package pki

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	caRenew    = 365 * 24 * time.Hour // left of its life when the authority's certificate is renewed
	leafLife   = 365 * 24 * time.Hour
	backdate   = time.Hour // for clocks that run behind ours
	clusterCN  = "proa-ca"
	frontCN    = "proa-front-proxy-ca"
	signerFile = "sa.key"
)

// Cluster is the keys of one cluster.
type Cluster struct {
	dir       string
	ca, front authority
	saKeys    []crypto.Signer // the first signs
}

type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
}

// Open reads the keys in dir and makes those that are missing; dir is created with mode 0700. A file that cannot be read is an
// error, never a reason for a new key.
func Open(dir string) (*Cluster, error) { return open(dir, time.Now()) }

func open(dir string, now time.Time) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	// Only root may look, also where the directory was there before.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	unlock, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	defer unlock()
	c := &Cluster{dir: dir}
	if c.ca, err = openAuthority(dir, "ca", clusterCN, now); err != nil {
		return nil, err
	}
	if c.front, err = openAuthority(dir, "front-proxy-ca", frontCN, now); err != nil {
		return nil, err
	}
	if c.saKeys, err = openSigners(dir); err != nil {
		return nil, err
	}
	return c, nil
}

// lock keeps two processes from making the first keys at the same time: the second waits, and finds those of the first.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { d.Close() }, nil
}

// openAuthority reads or makes <name>.key and <name>.crt. The key comes first: a crash between the two leaves a key for which
// the next start makes the certificate.
func openAuthority(dir, name, cn string, now time.Time) (authority, error) {
	crt := filepath.Join(dir, name+".crt")
	if missing(filepath.Join(dir, name+".key")) && !missing(crt) {
		return authority{}, fmt.Errorf("read key: %s has no %s.key beside it; restore it from a backup, or remove the certificate to "+
			"begin a new cluster", crt, name)
	}
	key, err := keyFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return authority{}, err
	}
	a := authority{key: key}
	a.pem, err = os.ReadFile(crt)
	if errors.Is(err, os.ErrNotExist) {
		return a, a.renew(crt, cn, now)
	}
	if err != nil {
		return a, fmt.Errorf("read certificate: %w", err)
	}
	if a.cert, err = parseCert(a.pem); err != nil {
		return a, fmt.Errorf("read certificate %s: %w", crt, err)
	}
	if !samePublic(a.cert.PublicKey, key.Public()) {
		return a, fmt.Errorf("read certificate %s: it does not belong to the key beside it", crt)
	}
	if a.cert.NotAfter.Sub(now) < caRenew {
		return a, a.renew(crt, a.cert.Subject.CommonName, now)
	}
	return a, nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// openSigners reads all sa*.key, sa.key first, which it makes if it is missing.
func openSigners(dir string) ([]crypto.Signer, error) {
	first := filepath.Join(dir, signerFile)
	names, err := filepath.Glob(filepath.Join(dir, "sa-*.key"))
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	slices.Sort(names)
	var keys []crypto.Signer
	for _, name := range append([]string{first}, names...) {
		k, err := keyFile(name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// CAPEM is the certificate of the cluster's authority: what clients trust and what pods get as ca.crt.
func (c *Cluster) CAPEM() []byte { return slices.Clone(c.ca.pem) }

// CAPool trusts the cluster's authority only.
func (c *Cluster) CAPool() *x509.CertPool { return c.ca.pool() }

// FrontProxyCAPEM is the certificate of the authority of front proxies.
func (c *Cluster) FrontProxyCAPEM() []byte { return slices.Clone(c.front.pem) }

// FrontProxyCAPool trusts the authority of front proxies only.
func (c *Cluster) FrontProxyCAPool() *x509.CertPool { return c.front.pool() }

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Fingerprint names the cluster: the SHA-256 of its authority's public key, in hex. It stays when the certificate is renewed.
func (c *Cluster) Fingerprint() string {
	sum := sha256.Sum256(c.ca.cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// ServiceAccountSigner signs service account tokens.
func (c *Cluster) ServiceAccountSigner() crypto.Signer { return c.saKeys[0] }

// ServiceAccountKeys verify service account tokens: the signer's key first, then those of earlier signers.
func (c *Cluster) ServiceAccountKeys() []crypto.PublicKey {
	out := make([]crypto.PublicKey, len(c.saKeys))
	for i, k := range c.saKeys {
		out[i] = k.Public()
	}
	return out
}
