package config

import (
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Settings is the configuration as names and values: "api.listen". Secrets are left out.
func (c *Config) Settings() map[string]string {
	out := map[string]string{}
	var tree map[string]any
	text, err := yaml.Marshal(c)
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	flatten(out, "", tree)
	return out
}

func flatten(into map[string]string, prefix string, tree map[string]any) {
	for name, v := range tree {
		switch v := v.(type) {
		case map[string]any:
			flatten(into, prefix+name+".", v)
		case nil:
			into[prefix+name] = ""
		default:
			into[prefix+name] = fmt.Sprint(v)
			if v != "" && strings.EqualFold(name, "password") {
				into[prefix+name] = "(hidden)"
			}
		}
	}
}

// Settings are the fields of k that a KubeletConfiguration has, by the same names, where they are set. What the kubelet tells itself is left
// out.
func (k Kubelet) Settings() map[string]any {
	var tree map[string]any
	text, err := yaml.Marshal(k)
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	for _, ours := range []string{"listen", "address", "labels", "staticPods", "imageCredentialProviderConfig", "imageCredentialProviderBinDir", "crashLoopBackOff"} {
		delete(tree, ours)
	}
	maps.DeleteFunc(tree, func(_ string, v any) bool {
		switch v := v.(type) {
		case nil:
			return true
		case map[string]any:
			return len(v) == 0
		case []any:
			return len(v) == 0
		case string:
			return v == "" || v == "0s"
		case int:
			return v == 0
		}
		return v == false
	})
	return tree
}
