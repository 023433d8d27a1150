package pulled

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy says which images have to be verified though they are on the node.
type Policy struct {
	Verify string   // one of the below; "" is NeverVerifyPreloadedImages
	Allow  []string // for NeverVerifyAllowlistedImages: names without tag and digest, or "reg.example/team/*"
}

// What Verify may be.
const (
	Never       = "NeverVerify"                  // who can name an image may have it
	Preloaded   = "NeverVerifyPreloadedImages"   // those that the kubelet pulled
	Allowlisted = "NeverVerifyAllowlistedImages" // those that Allow does not name
	Always      = "AlwaysVerify"
)

// Complete fills the default in and says what is wrong.
func (p Policy) Complete() (Policy, error) {
	if p.Verify == "" {
		p.Verify = Preloaded
	}
	if !slices.Contains([]string{Never, Preloaded, Allowlisted, Always}, p.Verify) {
		return p, fmt.Errorf("kubelet.imagePullCredentialsVerificationPolicy: %q is not %s, %s, %s or %s", p.Verify, Never, Preloaded, Allowlisted, Always)
	}
	if len(p.Allow) > 0 && p.Verify != Allowlisted {
		return p, fmt.Errorf("kubelet.preloadedImagesVerificationAllowlist: it is only for the imagePullCredentialsVerificationPolicy %s", Allowlisted)
	}
	for _, pattern := range p.Allow {
		if err := checkPattern(pattern); err != nil {
			return p, fmt.Errorf("kubelet.preloadedImagesVerificationAllowlist: %w", err)
		}
	}
	return p, nil
}

// checkPattern is Kubernetes' check.
func checkPattern(pattern string) error {
	if pattern != strings.TrimSpace(pattern) {
		return fmt.Errorf("leading/trailing spaces are not allowed: %s", pattern)
	}
	name, wild := pattern, strings.HasSuffix(pattern, "/*")
	if wild {
		name = strings.TrimSuffix(pattern, "*")
	}
	switch {
	case name == "":
		return fmt.Errorf("the supplied pattern is too short: %s", pattern)
	case strings.Contains(name, "*"):
		return fmt.Errorf("not a valid wildcard pattern, only patterns ending with '/*' are allowed: %s", pattern)
	case wild && name == "/":
		return errors.New("at least registry hostname is required")
	case wild:
		return nil
	}
	image, err := trim(name)
	if err != nil {
		return fmt.Errorf("failed to parse as an image name: %w", err)
	}
	if image != name {
		return fmt.Errorf("neither tag nor digest is accepted in an image reference: %s", pattern)
	}
	return nil
}

// allows says whether a pod may have an image by its name alone. tracked are those that the kubelet has pulled, or begun to pull.
func (p *Policy) allows(image string, tracked bool) bool {
	switch p.Verify {
	case Never:
		return true
	case Preloaded:
		return !tracked
	case Allowlisted:
		name, err := trim(image)
		if err != nil {
			name = image
		}
		return slices.ContainsFunc(p.Allow, func(pattern string) bool {
			start, wild := strings.CutSuffix(pattern, "*")
			return wild && strings.HasPrefix(name, start) || name == pattern
		})
	}
	return false
}
