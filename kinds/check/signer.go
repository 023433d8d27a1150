package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Longest parts of a signer's name: a domain, and a path that has room for a namespace and a name.
const (
	maxSignerDomain = utilvalidation.DNS1123SubdomainMaxLength
	maxSigner       = 2*utilvalidation.DNS1123SubdomainMaxLength + utilvalidation.DNS1123LabelMaxLength + 2
)

// SignerName wants the name of a signer of certificates: "example.com/signer".
func (e *Errors) SignerName(p *field.Path, name string) {
	if name == "" {
		e.Required(p, "")
		return
	}
	parts := strings.Split(name, "/")
	if len(parts) != 2 {
		e.Invalid(p, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	domain, path := parts[0], parts[1]
	if len(domain) > maxSignerDomain {
		e.Add(field.TooLong(p, "", maxSignerDomain))
	}
	e.eachLabel(p, domain, utilvalidation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		e.Invalid(p, domain, "should be a domain with at least two segments separated by dots")
	}
	e.eachLabel(p, path, utilvalidation.IsDNS1123Subdomain)
	if len(name) > maxSigner {
		e.Add(field.TooLong(p, "", maxSigner))
	}
}

// eachLabel says what is wrong with the first bad one of v's labels.
func (e *Errors) eachLabel(p *field.Path, v string, wrong func(string) []string) {
	for l := range strings.SplitSeq(v, ".") {
		if details := wrong(l); len(details) > 0 {
			for _, d := range details {
				e.Invalid(p, v, fmt.Sprintf("validating label %q: %s", l, d))
			}
			return
		}
	}
}

// UserAnnotations wants keys with a domain, and no more than annotations may hold. A missing map is fine.
func (e *Errors) UserAnnotations(p *field.Path, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.Add(utilvalidation.IsDomainPrefixedKey(p, strings.ToLower(k))...)
	}
	if validation.ValidateAnnotationsSize(m) != nil {
		e.Add(field.TooLong(p, "", validation.TotalAnnotationSizeLimitB))
	}
}
