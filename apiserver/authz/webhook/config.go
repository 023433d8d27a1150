package webhook

import (
	"fmt"
	"path/filepath"
	"time"

	"proa.dev/kit/strictyaml"
)

// Config is an AuthorizationConfiguration.
type Config struct {
	APIVersion  string       `yaml:"apiVersion"`
	Kind        string       `yaml:"kind"`
	Authorizers []Authorizer `yaml:"authorizers"`
}

// Authorizer is one that decides.
type Authorizer struct {
	Type    string `yaml:"type"` // Webhook, Node or RBAC
	Name    string `yaml:"name"`
	Webhook *Hook  `yaml:"webhook"`
}

// Hook is a webhook that decides.
type Hook struct {
	AuthorizedTTL             time.Duration `yaml:"authorizedTTL"`
	CacheAuthorizedRequests   *bool         `yaml:"cacheAuthorizedRequests"` // default true
	UnauthorizedTTL           time.Duration `yaml:"unauthorizedTTL"`
	CacheUnauthorizedRequests *bool         `yaml:"cacheUnauthorizedRequests"` // default true
	Timeout                   time.Duration `yaml:"timeout"`
	Version                   string        `yaml:"subjectAccessReviewVersion"`
	ConditionVersion          string        `yaml:"matchConditionSubjectAccessReviewVersion"`
	FailurePolicy             string        `yaml:"failurePolicy"`
	Connection                struct {
		Type string  `yaml:"type"`
		File *string `yaml:"kubeConfigFile"`
	} `yaml:"connectionInfo"`
	Conditions []struct {
		Expression string `yaml:"expression"`
	} `yaml:"matchConditions"`
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
	if c.Kind != "AuthorizationConfiguration" || c.APIVersion != "apiserver.config.k8s.io/v1" && c.APIVersion != "apiserver.config.k8s.io/v1beta1" {
		bad("it is a %q of %q, not an AuthorizationConfiguration of apiserver.config.k8s.io/v1", c.Kind, c.APIVersion)
	}
	if len(c.Authorizers) == 0 {
		bad("authorizers: at least one authorization mode must be defined")
	}
	names, types := map[string]bool{}, map[string]bool{}
	for i := range c.Authorizers {
		a := &c.Authorizers[i]
		at := fmt.Sprintf("authorizers[%d]", i)
		if a.Name == "" {
			bad("%s.name: it is required", at)
		}
		if names[a.Name] {
			bad("%s.name: %q stands there twice", at, a.Name)
		}
		switch {
		case a.Type == "Webhook" && a.Webhook == nil:
			bad("%s.webhook: it is required when type=Webhook", at)
		case a.Type == "Webhook":
			a.Webhook.check(at+".webhook", bad)
		case a.Type != "Node" && a.Type != "RBAC":
			bad("%s.type: %q is not one of Node, RBAC, Webhook", at, a.Type)
		case a.Webhook != nil:
			bad("%s.webhook: it goes with type=Webhook only", at)
		case types[a.Type]:
			bad("%s.type: %s stands there twice", at, a.Type)
		}
		names[a.Name], types[a.Type] = true, true
	}
	return errs
}

func (h *Hook) check(at string, bad func(format string, args ...any)) {
	if h.Timeout <= 0 || h.Timeout > 30*time.Second {
		bad("%s.timeout: want more than 0 and at most 30s", at)
	}
	if h.AuthorizedTTL < 0 || h.UnauthorizedTTL < 0 {
		bad("%s: a TTL is negative", at)
	}
	if h.AuthorizedTTL == 0 {
		h.AuthorizedTTL = 5 * time.Minute
	}
	if h.UnauthorizedTTL == 0 {
		h.UnauthorizedTTL = 30 * time.Second
	}
	if h.Version != "v1" {
		bad("%s.subjectAccessReviewVersion: %q is not v1", at, h.Version)
	}
	if len(h.Conditions) > 0 && h.ConditionVersion != "v1" || h.ConditionVersion != "" && h.ConditionVersion != "v1" {
		bad("%s.matchConditionSubjectAccessReviewVersion: %q is not v1", at, h.ConditionVersion)
	}
	if h.FailurePolicy != "NoOpinion" && h.FailurePolicy != "Deny" {
		bad("%s.failurePolicy: %q is not NoOpinion or Deny", at, h.FailurePolicy)
	}
	switch {
	case h.Connection.Type != "KubeConfigFile":
		bad("%s.connectionInfo.type: %q is not KubeConfigFile", at, h.Connection.Type)
	case h.Connection.File == nil || !filepath.IsAbs(*h.Connection.File):
		bad("%s.connectionInfo.kubeConfigFile: want an absolute path", at)
	}
}
