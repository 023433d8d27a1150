package volume

import (
	"bytes"
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kubelet/podcert"
)

// longestSelector bounds the label selectors that choose bundles, in bytes.
const longestSelector = 100 << 10

// trustBundle puts the certificates of ClusterTrustBundles into p, each once. Their order is the same for as long as this process runs,
// and another in the next: nobody shall take the first for more than the others.
func (v *Volumes) trustBundle(src *core.ClusterTrustBundleProjection, f file, p payload) error {
	chosen, err := v.chosen(src)
	if err != nil {
		return err
	}
	var anchors [][]byte
	for _, b := range chosen {
		rest := []byte(b.Spec.TrustBundle)
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			anchors = append(anchors, block.Bytes)
		}
	}
	slices.SortFunc(anchors, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(maphash.Bytes(v.seed, a), maphash.Bytes(v.seed, b)), bytes.Compare(a, b))
	})
	f.data = []byte{}
	for _, a := range slices.CompactFunc(anchors, bytes.Equal) {
		f.data = append(f.data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a})...)
	}
	p[filepath.Clean(src.Path)] = f
	return nil
}

// chosen are the bundles that a source means: the one of that name, or those of a signer that the labels select.
func (v *Volumes) chosen(src *core.ClusterTrustBundleProjection) (out []*certificates.ClusterTrustBundle, err error) {
	all, err := v.Sources.Bundles()
	if err != nil {
		return nil, err
	}
	optional := src.Optional != nil && *src.Optional
	switch {
	case src.Name != nil:
		for _, b := range all {
			if b.Name == *src.Name {
				out = append(out, b)
			}
		}
		if len(out) == 0 && !optional {
			missing := apierrors.NewNotFound(schema.GroupResource{Group: certificates.GroupName, Resource: "clustertrustbundle"}, *src.Name)
			return nil, fmt.Errorf("while getting ClusterTrustBundle: %w", missing)
		}
	case src.SignerName != nil:
		selector, err := metav1.LabelSelectorAsSelector(src.LabelSelector) // none selects nothing
		if err != nil {
			return nil, fmt.Errorf("while parsing label selector: %w", err)
		}
		if n := len(selector.String()); n > longestSelector {
			return nil, fmt.Errorf("label selector length (%d) is larger than %d", n, longestSelector)
		}
		for _, b := range all {
			if b.Spec.SignerName == *src.SignerName && selector.Matches(labels.Set(b.Labels)) {
				out = append(out, b)
			}
		}
		if len(out) == 0 && !optional {
			return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
		}
	default:
		return nil, errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	return out, nil
}

// certificate puts a certificate of the pod into p, and says when to come back for the next.
func (v *Volumes) certificate(ctx context.Context, w podcert.Want, dir string, now time.Time, f file, p payload) (time.Time, error) {
	if v.certs == nil {
		return time.Time{}, errors.New("this projected source is not supported")
	}
	w.Shown = func() (podcert.Bundle, bool) { return shown(w.Source, dir) }
	b, renew, err := v.certs.Get(ctx, w, now)
	if err != nil {
		return time.Time{}, err
	}
	put := func(path string, data []byte) {
		if path != "" {
			f.data = data
			p[filepath.Clean(path)] = f
		}
	}
	put(w.Source.CredentialBundlePath, slices.Concat(b.Key, b.Chain))
	put(w.Source.KeyPath, b.Key)
	put(w.Source.CertificateChainPath, b.Chain)
	return renew, nil
}

// shown is the key and the chain that a volume shows.
func shown(src *core.PodCertificateProjection, dir string) (b podcert.Bundle, ok bool) {
	read := func(path string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, filepath.Clean(path)))
		if err != nil {
			return nil
		}
		return data
	}
	switch {
	case src.CredentialBundlePath != "":
		both := read(src.CredentialBundlePath)
		key, chain := pem.Decode(both)
		if key == nil {
			return b, false
		}
		b = podcert.Bundle{Key: both[:len(both)-len(chain)], Chain: chain}
	case src.KeyPath != "" && src.CertificateChainPath != "":
		b = podcert.Bundle{Key: read(src.KeyPath), Chain: read(src.CertificateChainPath)}
	}
	return b, len(b.Key) > 0 && len(b.Chain) > 0
}
