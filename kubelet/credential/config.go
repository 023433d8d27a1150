package credential

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	configVersion = "kubelet.config.k8s.io/v1"
	pluginVersion = "credentialprovider.kubelet.k8s.io/v1"
)

// file is a CredentialProviderConfig.
type file struct {
	metav1.TypeMeta `json:",inline"`
	Providers       []provider `json:"providers"`
}

type provider struct {
	Name                 string           `json:"name"`
	MatchImages          []string         `json:"matchImages"`
	DefaultCacheDuration *metav1.Duration `json:"defaultCacheDuration"`
	APIVersion           string           `json:"apiVersion"`
	Args                 []string         `json:"args"`
	Env                  []variable       `json:"env"`
	Token                *token           `json:"tokenAttributes"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// token says that the plugin gets a token of the pod's service account.
type token struct {
	Audience string   `json:"serviceAccountTokenAudience"`
	Cache    string   `json:"cacheType"` // "Token", "ServiceAccount"
	Require  *bool    `json:"requireServiceAccount"`
	Required []string `json:"requiredServiceAccountAnnotationKeys"`
	Optional []string `json:"optionalServiceAccountAnnotationKeys"`
}

// read reads and checks a configuration and finds its plugins in dir.
func read(path, dir string) ([]*plugin, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if f.Kind != "CredentialProviderConfig" || f.APIVersion != configVersion {
		return nil, fmt.Errorf("%s: want a CredentialProviderConfig of %s, got %s of %s", path, configVersion, f.Kind, f.APIVersion)
	}
	if len(f.Providers) == 0 {
		return nil, fmt.Errorf("%s: providers: Required value: at least 1 item in plugins is required", path)
	}
	var all []*plugin
	seen := map[string]bool{}
	for i := range f.Providers {
		p := &f.Providers[i]
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("%s: provider %q: %w", path, p.Name, err)
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("%s: provider name must be unique: %q", path, p.Name)
		}
		seen[p.Name] = true
		program, err := exec.LookPath(filepath.Join(dir, p.Name))
		if err != nil {
			return nil, fmt.Errorf("plugin binary executable %s did not exist: %w", filepath.Join(dir, p.Name), err)
		}
		all = append(all, &plugin{provider: *p, program: program, kept: map[string]answer{}})
	}
	return all, nil
}

func (p *provider) check() error {
	switch {
	case p.Name == "" || p.Name == "." || p.Name == ".." || strings.ContainsAny(p.Name, "/ "):
		return errors.New("its name is not that of a file")
	case p.APIVersion != pluginVersion:
		return fmt.Errorf("apiVersion %q is not %s", p.APIVersion, pluginVersion)
	case len(p.MatchImages) == 0:
		return errors.New("matchImages: Required value: at least 1 item in matchImages is required")
	case p.DefaultCacheDuration == nil || p.DefaultCacheDuration.Duration < 0:
		return errors.New("defaultCacheDuration: Required value: a duration of 0 or more is required")
	}
	t := p.Token
	if t == nil {
		return nil
	}
	switch {
	case t.Audience == "":
		return errors.New("tokenAttributes.serviceAccountTokenAudience: Required value")
	case t.Require == nil:
		return errors.New("tokenAttributes.requireServiceAccount: Required value")
	case t.Cache != "Token" && t.Cache != "ServiceAccount":
		return fmt.Errorf("tokenAttributes.cacheType %q is not ServiceAccount or Token", t.Cache)
	}
	return nil
}
