package podsecurity

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/pod-security-admission/api"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/admission"
)

// Config is a PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1: what holds where the labels of a namespace say
// nothing, and for whom nothing holds.
type Config struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Defaults   struct {
		Enforce        string `json:"enforce"`
		EnforceVersion string `json:"enforce-version"`
		Audit          string `json:"audit"`
		AuditVersion   string `json:"audit-version"`
		Warn           string `json:"warn"`
		WarnVersion    string `json:"warn-version"`
	} `json:"defaults"`
	Exemptions struct {
		Usernames      []string `json:"usernames"`
		Namespaces     []string `json:"namespaces"`
		RuntimeClasses []string `json:"runtimeClasses"`
	} `json:"exemptions"`
}

const group = "pod-security.admission.config.k8s.io/"

// Configured is New with the settings in a file; empty: none.
func Configured(file string) (admission.Plugin, error) {
	if file == "" {
		return New, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the settings of PodSecurity: %w", err)
	}
	c, open, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return func(d admission.Deps) (admission.Part, error) { return made(d, c, open), nil }, nil
}

func parse(data []byte) (*Config, api.Policy, error) {
	c := &Config{}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, api.Policy{}, err
	}
	if v := strings.TrimPrefix(c.APIVersion, group); c.Kind != "PodSecurityConfiguration" || v != "v1" && v != "v1beta1" {
		return nil, api.Policy{}, fmt.Errorf("kind %q of %q: want a PodSecurityConfiguration of %sv1", c.Kind, c.APIVersion, group)
	}
	open := open()
	d := &c.Defaults
	for _, s := range []struct {
		field, level, version string
		into                  *api.LevelVersion
	}{
		{"enforce", d.Enforce, d.EnforceVersion, &open.Enforce}, {"audit", d.Audit, d.AuditVersion, &open.Audit}, {"warn", d.Warn, d.WarnVersion, &open.Warn},
	} {
		var err error
		if s.level != "" {
			if s.into.Level, err = api.ParseLevel(s.level); err != nil {
				return nil, open, fmt.Errorf("defaults.%s: %w", s.field, err)
			}
		}
		if s.version != "" {
			if s.into.Version, err = api.ParseVersion(s.version); err != nil {
				return nil, open, fmt.Errorf("defaults.%s-version: %w", s.field, err)
			}
		}
	}
	return c, open, nil
}

// exempt is why nothing holds for a pod, in the words of audit annotations; "" if it holds.
func (p *plugin) exempt(namespace, user string, runtimeClass *string) string {
	e := &p.config.Exemptions
	switch {
	case slices.Contains(e.Namespaces, namespace):
		return "namespace"
	case user != "" && slices.Contains(e.Usernames, user):
		return "user"
	case runtimeClass != nil && *runtimeClass != "" && slices.Contains(e.RuntimeClasses, *runtimeClass):
		return "runtimeClass"
	}
	return ""
}

// ignored warns of labels of a namespace that is exempt; "" if they say nothing that would count.
func (p *plugin) ignored(namespace string, labels map[string]string, want api.Policy) string {
	if p.exempt(namespace, "", nil) == "" || want.FullyPrivileged() || want.Equivalent(&p.open) {
		return ""
	}
	var parts []string
	for _, s := range []struct {
		name, level, version string
		is                   api.LevelVersion
	}{
		{"enforce", api.EnforceLevelLabel, api.EnforceVersionLabel, want.Enforce}, {"audit", api.AuditLevelLabel, api.AuditVersionLabel, want.Audit},
		{"warn", api.WarnLevelLabel, api.WarnVersionLabel, want.Warn},
	} {
		_, level := labels[s.level]
		_, version := labels[s.version]
		if s.is.Level != api.LevelPrivileged && (level || version) {
			parts = append(parts, s.name+"="+s.is.String())
		}
	}
	return fmt.Sprintf("namespace %q is exempt from Pod Security, and the policy (%s) will be ignored", namespace, strings.Join(parts, ", "))
}
