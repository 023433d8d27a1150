package oidc

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"proa.dev/kit/strictyaml"
)

// Config is an AuthenticationConfiguration.
type Config struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	JWT        []Issuer   `yaml:"jwt"`
	Anonymous  *Anonymous `yaml:"anonymous"`
}

// Anonymous says whether requests without credentials are let in, and to which paths only.
type Anonymous struct {
	Enabled    bool `yaml:"enabled"`
	Conditions []struct {
		Path string `yaml:"path"`
	} `yaml:"conditions"`
}

// Issuer is one provider, and what its tokens mean.
type Issuer struct {
	Issuer struct {
		URL                  string   `yaml:"url"`
		DiscoveryURL         string   `yaml:"discoveryURL"`
		CertificateAuthority string   `yaml:"certificateAuthority"` // PEM
		Audiences            []string `yaml:"audiences"`
		AudienceMatchPolicy  string   `yaml:"audienceMatchPolicy"`
		EgressSelectorType   string   `yaml:"egressSelectorType"`
	} `yaml:"issuer"`
	ClaimValidationRules []ClaimRule `yaml:"claimValidationRules"`
	ClaimMappings        struct {
		Username Prefixed `yaml:"username"`
		Groups   Prefixed `yaml:"groups"`
		UID      Value    `yaml:"uid"`
		Extra    []Extra  `yaml:"extra"`
	} `yaml:"claimMappings"`
	UserValidationRules []UserRule `yaml:"userValidationRules"`
}

// ClaimRule is something that the claims of a token must fulfil.
type ClaimRule struct {
	Claim         string `yaml:"claim"`
	RequiredValue string `yaml:"requiredValue"`
	Expression    string `yaml:"expression"`
	Message       string `yaml:"message"`
}

// UserRule is something that the user of a token must fulfil.
type UserRule struct {
	Expression string `yaml:"expression"`
	Message    string `yaml:"message"`
}

// Value is a claim, or an expression.
type Value struct {
	Claim      string `yaml:"claim"`
	Expression string `yaml:"expression"`
}

// Prefixed is a claim with a prefix, or an expression.
type Prefixed struct {
	Claim      string  `yaml:"claim"`
	Prefix     *string `yaml:"prefix"`
	Expression string  `yaml:"expression"`
}

// Extra is one key of a user's extra fields.
type Extra struct {
	Key             string `yaml:"key"`
	ValueExpression string `yaml:"valueExpression"`
}

// Parse reads a file; name stands in its errors, which name the line or the field.
func Parse(name string, data []byte) (*Config, error) {
	var c Config
	if err := strictyaml.Checked(name, data, &c, c.check); err != nil {
		return nil, err
	}
	return &c, nil
}

func (c *Config) check() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Kind != "AuthenticationConfiguration" || c.APIVersion != "apiserver.config.k8s.io/v1" && c.APIVersion != "apiserver.config.k8s.io/v1beta1" {
		bad("it is a %q of %q, not an AuthenticationConfiguration of apiserver.config.k8s.io/v1", c.Kind, c.APIVersion)
	}
	seen := map[string]bool{}
	for i := range c.JWT {
		j := &c.JWT[i]
		at := fmt.Sprintf("jwt[%d]", i)
		for _, u := range []string{j.Issuer.URL, j.Issuer.DiscoveryURL} {
			if u != "" && seen[u] {
				bad("%s.issuer.url: %q stands there twice", at, u)
			}
			seen[u] = true
		}
		j.check(at, bad)
	}
	if a := c.Anonymous; a != nil && !a.Enabled && len(a.Conditions) > 0 {
		bad("anonymous.conditions: conditions for nobody: enabled is false")
	}
	return errs
}

func (j *Issuer) check(at string, bad func(format string, args ...any)) {
	i := &j.Issuer
	https(at+".issuer.url", i.URL, true, bad)
	https(at+".issuer.discoveryURL", i.DiscoveryURL, false, bad)
	if i.DiscoveryURL != "" && strings.TrimSuffix(i.DiscoveryURL, "/") == strings.TrimSuffix(i.URL, "/") {
		bad("%s.issuer.discoveryURL: it must differ from url", at)
	}
	if i.CertificateAuthority != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(i.CertificateAuthority)) {
		bad("%s.issuer.certificateAuthority: no PEM certificate in it", at)
	}
	switch {
	case len(i.Audiences) == 0:
		bad("%s.issuer.audiences: at least one is required", at)
	case slices.Contains(i.Audiences, ""):
		bad("%s.issuer.audiences: an audience is empty", at)
	case len(i.Audiences) > 1 && i.AudienceMatchPolicy != "MatchAny":
		bad("%s.issuer.audienceMatchPolicy: it must be MatchAny for several audiences", at)
	case i.AudienceMatchPolicy != "" && i.AudienceMatchPolicy != "MatchAny":
		bad("%s.issuer.audienceMatchPolicy: %q is not MatchAny", at, i.AudienceMatchPolicy)
	}
	if i.EgressSelectorType != "" {
		bad("%s.issuer.egressSelectorType: this server has no egress selectors", at)
	}
	for n, r := range j.ClaimValidationRules {
		if (r.Claim == "") == (r.Expression == "") {
			bad("%s.claimValidationRules[%d]: want either claim or expression", at, n)
		}
	}
	m := &j.ClaimMappings
	one := func(field, claim, expression string, required bool) {
		if claim != "" && expression != "" || required && claim == "" && expression == "" {
			bad("%s.claimMappings.%s: want either claim or expression", at, field)
		}
	}
	one("username", m.Username.Claim, m.Username.Expression, true)
	one("groups", m.Groups.Claim, m.Groups.Expression, false)
	one("uid", m.UID.Claim, m.UID.Expression, false)
	for field, p := range map[string]Prefixed{"username": m.Username, "groups": m.Groups} {
		if (p.Claim == "") != (p.Prefix == nil) {
			bad("%s.claimMappings.%s.prefix: it goes with claim, where it is required (\"\" is none)", at, field)
		}
	}
	for n, e := range m.Extra {
		if !strings.Contains(e.Key, "/") || strings.ToLower(e.Key) != e.Key || e.ValueExpression == "" {
			bad("%s.claimMappings.extra[%d]: want a key like example.com/what in lower case, and a valueExpression", at, n)
		}
	}
}

func https(field, text string, required bool, bad func(format string, args ...any)) {
	if text == "" && !required {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		bad("%s: %q is not an https URL without user, query and fragment", field, text)
	}
}
