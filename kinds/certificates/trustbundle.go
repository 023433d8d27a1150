package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	certificates "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds"
	"proa.dev/kinds/check"
)

// ClusterTrustBundle is certificates.k8s.io/v1 ClusterTrustBundle: certificates of authorities that pods mount. One that belongs to a
// signer is named after it, and only those write it who may attest for the signer.
var ClusterTrustBundle = kinds.Def[certificates.ClusterTrustBundle, *certificates.ClusterTrustBundle]{
	Path:      "certificates.k8s.io/v1/clustertrustbundles",
	Cluster:   true,
	Former:    []string{"certificates.k8s.io/v1beta1"},
	Versioned: true,
	Name:      func(string, bool) []string { return nil }, // depends on the signer
	Validate: func(b *bundle) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			checkBundleNames(e, b)
			if b.Spec.SignerName != "" {
				e.SignerName(specPath.Child("signerName"), b.Spec.SignerName)
			}
		})
	},
	ValidateCreate: func(b *bundle) field.ErrorList {
		return check.Run(func(e *check.Errors) { checkAnchors(e, b.Spec.TrustBundle) })
	},
	ValidateUpdate: func(b, old *bundle) field.ErrorList {
		return check.Run(func(e *check.Errors) {
			if b.Spec.TrustBundle != old.Spec.TrustBundle { // what was read once is not doubted again
				checkAnchors(e, b.Spec.TrustBundle)
			}
			e.Immutable(specPath.Child("signerName"), b.Spec.SignerName, old.Spec.SignerName)
		})
	},
	Fields:  func(b *bundle) map[string]string { return map[string]string{"spec.signerName": b.Spec.SignerName} },
	Columns: kinds.Columns("Name", "SignerName|"+certificates.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"]),
	Row: func(b *bundle, _ time.Time) []any {
		if b.Spec.SignerName == "" {
			return []any{b.Name, "<none>"}
		}
		return []any{b.Name, b.Spec.SignerName}
	},
}

type bundle = certificates.ClusterTrustBundle

// maxBundle is the most that a bundle may hold, in bytes.
const maxBundle = 1 << 20

// checkBundleNames checks what metadata says by what the signer's name asks for.
func checkBundleNames(e *check.Errors, b *bundle) {
	meta := field.NewPath("metadata")
	if b.GenerateName != "" {
		e.Invalids(meta.Child("generateName"), b.GenerateName, bundleName(b.Spec.SignerName, b.GenerateName, true))
	}
	if b.Name != "" { // its absence is told for every kind
		e.Invalids(meta.Child("name"), b.Name, bundleName(b.Spec.SignerName, b.Name, false))
	}
}

// bundleName says what is wrong with a name, or with its beginning: a bundle of example.com/signer is named "example.com:signer:<name>".
func bundleName(signer, name string, prefix bool) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{`ClusterTrustBundle without signer name must not have ":" in its name`}
		}
		return validation.NameIsDNSSubdomain(name, prefix)
	}
	start := strings.ReplaceAll(signer, "/", ":") + ":"
	rest, ok := strings.CutPrefix(name, start)
	if !ok {
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, start)}
	}
	return validation.NameIsDNSSubdomain(rest, prefix)
}

// checkAnchors wants certificates of authorities in PEM, at least one and none twice.
func checkAnchors(e *check.Errors, text string) {
	p := specPath.Child("trustBundle")
	if len(text) > maxBundle {
		e.Add(field.TooLong(p, "", maxBundle))
		return
	}
	seen := map[string][]int{} // where each certificate stands
	var order []string
	bad, rest := false, []byte(text)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if what := wrongAnchor(block); what != "" {
			e.Invalid(p, omitted, fmt.Sprintf("entry %d %s", i, what))
			bad = true
			continue
		}
		key := string(block.Bytes)
		if seen[key] == nil {
			order = append(order, key)
		}
		seen[key] = append(seen[key], i)
	}
	if bad {
		return
	}
	if len(seen) == 0 {
		e.Invalid(p, omitted, "at least one trust anchor must be provided")
	}
	for _, key := range order {
		if at := seen[key]; len(at) > 1 {
			e.Invalid(p, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", at))
		}
	}
}

// omitted stands in errors for values that nobody wants to see.
const omitted = "<value omitted>"

func wrongAnchor(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
