package crypt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// file is apiserver.config.k8s.io/v1 EncryptionConfiguration.
type file struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Resources  []rule `yaml:"resources"`
}

type rule struct {
	Resources []string `yaml:"resources"`
	Providers []choice `yaml:"providers"`
	line      int
}

// UnmarshalYAML keeps where the rule stands.
func (r *rule) UnmarshalYAML(n *yaml.Node) error {
	type bare rule
	r.line = n.Line
	return strict(n, (*bare)(r))
}

// choice is one provider; exactly one field is set.
type choice struct {
	AESGCM    *keys     `yaml:"aesgcm"`
	AESCBC    *keys     `yaml:"aescbc"`
	Secretbox *keys     `yaml:"secretbox"`
	KMS       *kmsEntry `yaml:"kms"`
	Identity  *struct{} `yaml:"identity"`
}

type keys struct {
	Keys []struct {
		Name   string `yaml:"name"`
		Secret string `yaml:"secret"` // base64
	} `yaml:"keys"`
}

type kmsEntry struct {
	APIVersion string        `yaml:"apiVersion"`
	Name       string        `yaml:"name"`
	Endpoint   string        `yaml:"endpoint"`
	Timeout    time.Duration `yaml:"timeout"`
	CacheSize  *int          `yaml:"cachesize"`
}

// strict decodes a node and refuses keys that it does not know. Node.Decode alone forgets that the decoder was told so.
func strict(n *yaml.Node, to any) error {
	b, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(to); err != nil {
		return fmt.Errorf("line %d: %s", n.Line, plainError(err))
	}
	return nil
}

func plainError(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	if _, rest, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "line ") {
		text = rest
	}
	if field, _, ok := strings.Cut(text, " not found in type"); ok {
		return fmt.Sprintf("unknown key %q", strings.TrimPrefix(field, "field "))
	}
	return text
}

// Read reads the file and opens its KMS plugins. ctx bounds their first answer.
func Read(ctx context.Context, path string) (*Rules, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the encryption configuration: %w", err)
	}
	return Parse(ctx, path, data)
}

// Parse is Read of the bytes of a file; name stands in its errors, which name lines.
func Parse(ctx context.Context, name string, data []byte) (*Rules, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "unmarshal errors:\n  "), "line "); ok {
			line, what, _ := strings.Cut(rest, ": ")
			return nil, fmt.Errorf("%s:%s: %s", name, line, plainError(errors.New(what)))
		}
		return nil, fmt.Errorf("%s: %s", name, text)
	}
	if f.APIVersion != "apiserver.config.k8s.io/v1" || f.Kind != "EncryptionConfiguration" {
		return nil, fmt.Errorf("%s: it is apiVersion %q, kind %q; want apiserver.config.k8s.io/v1, EncryptionConfiguration", name, f.APIVersion, f.Kind)
	}
	if len(f.Resources) == 0 {
		return nil, fmt.Errorf("%s: resources: Required value: at least one resources is required", name)
	}
	r := &Rules{exact: map[Resource]chain{}, group: map[string]chain{}}
	for i := range f.Resources {
		if err := r.add(ctx, &f.Resources[i]); err != nil {
			return nil, errors.Join(fmt.Errorf("%s:%d: resources[%d]: %w", name, f.Resources[i].line, i, err), r.Close())
		}
	}
	return r, nil
}

// add takes one rule of the file.
func (r *Rules) add(ctx context.Context, f *rule) error {
	if len(f.Resources) == 0 {
		return errors.New("resources: Required value: at least one resource is required")
	}
	if len(f.Providers) == 0 {
		return errors.New("providers: Required value: at least one provider is required")
	}
	var c chain
	for i := range f.Providers {
		p, err := r.provider(ctx, &f.Providers[i])
		if err != nil {
			return fmt.Errorf("providers[%d]: %w", i, err)
		}
		c = append(c, p...)
	}
	for i, name := range f.Resources {
		if problem := badResource(name, f.Resources); problem != "" {
			return fmt.Errorf("resources[%d]: Invalid value: %q: %s", i, name, problem)
		}
		res := parseResource(name)
		if r.group[res.Group] != nil && name != "*.*" || r.all != nil {
			return fmt.Errorf("resources[%d]: resource %q is masked by an earlier rule", i, name)
		}
		r.resources = append(r.resources, name)
		switch {
		case name == "*.*":
			r.all = append(r.all, c...)
		case res.Name == "*":
			r.group[res.Group] = append(r.group[res.Group], c...)
		default:
			r.exact[res] = append(r.exact[res], c...)
		}
	}
	return nil
}

// parseResource reads "secrets", "deployments.apps", "*.apps", "*.".
func parseResource(s string) Resource {
	name, group, _ := strings.Cut(s, ".")
	return Resource{group, name}
}

// badResource says what is wrong with a name, in Kubernetes' words.
func badResource(name string, list []string) string {
	res := parseResource(name)
	same, overlap := 0, false
	for _, other := range list {
		o := parseResource(other)
		if other == name {
			same++
		} else if name == "*.*" || other == "*.*" || o.Group == res.Group && (o.Name == "*" || res.Name == "*") {
			overlap = true
		}
	}
	switch {
	case name != strings.ToLower(name):
		return "resource name should not contain capital letters"
	case name == "*":
		return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
	case slices.Contains([]string{"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"}, name):
		return "resources which do not have REST API/s cannot be encrypted"
	case res.Group == "events.k8s.io":
		return "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
	case res.Group == "extensions":
		return "'extensions' group has been removed and cannot be used for encryption"
	case res.Group == "*" && res.Name != "*":
		return "encrypting the same resource across groups is not supported"
	case same > 1:
		return "the same resource cannot be specified multiple times"
	case overlap:
		return "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"
	}
	return ""
}

// provider makes the providers of one entry: one for each key.
func (r *Rules) provider(ctx context.Context, c *choice) ([]provider, error) {
	set := 0
	for _, is := range []bool{c.AESGCM != nil, c.AESCBC != nil, c.Secretbox != nil, c.KMS != nil, c.Identity != nil} {
		if is {
			set++
		}
	}
	switch {
	case set == 0:
		return nil, errors.New("provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity")
	case set > 1:
		return nil, errors.New("more than one provider specified in a single element, should split into different list elements")
	case c.AESGCM != nil:
		return withKeys("aesgcm", c.AESGCM, newGCM, 16, 24, 32)
	case c.AESCBC != nil:
		return withKeys("aescbc", c.AESCBC, newCBC, 16, 24, 32)
	case c.Secretbox != nil:
		return withKeys("secretbox", c.Secretbox, newBox, 32)
	case c.KMS != nil:
		return r.plugin(ctx, c.KMS)
	}
	return []provider{{nil, plainText{}}}, nil
}

func withKeys(name string, k *keys, cipher func([]byte) (transformer, error), sizes ...int) (out []provider, _ error) {
	if len(k.Keys) == 0 {
		return nil, fmt.Errorf("%s.keys: Required value: at least one keys is required", name)
	}
	for i, key := range k.Keys {
		at := fmt.Sprintf("%s.keys[%d]", name, i)
		if key.Name == "" {
			return nil, fmt.Errorf("%s.name: Required value: name is a mandatory field for a key", at)
		}
		if key.Secret == "" {
			return nil, fmt.Errorf("%s.secret: Required value: secret is a mandatory field for a key", at)
		}
		secret, err := base64.StdEncoding.DecodeString(key.Secret)
		if err != nil {
			return nil, fmt.Errorf(`%s.secret: Invalid value: "REDACTED": secrets must be base64 encoded`, at)
		}
		if !slices.Contains(sizes, len(secret)) {
			return nil, fmt.Errorf(`%s.secret: Invalid value: "REDACTED": secret is not of the expected length, got %d, expected one of %v`, at, len(secret), sizes)
		}
		t, err := cipher(secret)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		out = append(out, provider{[]byte("k8s:enc:" + name + ":v1:" + key.Name + ":"), t})
	}
	return out, nil
}

// plugin opens a KMS plugin. The same name in two rules is one plugin.
func (r *Rules) plugin(ctx context.Context, e *kmsEntry) ([]provider, error) {
	switch {
	case e.Name == "":
		return nil, errors.New("kms.name: Required value: name is a mandatory field for a provider")
	case strings.Contains(e.Name, ":"):
		return nil, fmt.Errorf("kms.name: Invalid value: %q: invalid KMS provider name %s, must not contain ':'", e.Name, e.Name)
	case slices.ContainsFunc(r.kms, func(k *kms) bool { return k.name == e.Name }):
		return nil, fmt.Errorf("kms.name: Invalid value: %q: duplicate KMS provider name %s, names must be unique", e.Name, e.Name)
	case e.APIVersion != "v2":
		return nil, fmt.Errorf("kms.apiVersion: Invalid value: %q: only v2 is supported: v1 is deprecated, and off by default in Kubernetes", e.APIVersion)
	case e.CacheSize != nil:
		return nil, fmt.Errorf("kms.cachesize: Invalid value: %d: cachesize is not supported in v2", *e.CacheSize)
	case e.Endpoint == "":
		return nil, errors.New("kms.endpoint: Required value: endpoint is a mandatory field for a KMS provider")
	case !strings.HasPrefix(e.Endpoint, "unix://"):
		return nil, fmt.Errorf("kms.endpoint: Invalid value: %q: unsupported scheme for KMS provider, only unix is supported", e.Endpoint)
	case e.Timeout < 0:
		return nil, fmt.Errorf("kms.timeout: Invalid value: %q: timeout should be a positive value", e.Timeout)
	case e.Timeout == 0:
		e.Timeout = 3 * time.Second
	}
	p, err := dialPlugin(e.Endpoint, e.Timeout)
	if err != nil {
		return nil, err
	}
	k := newKMS(e.Name, p)
	r.kms = append(r.kms, k)
	if err := k.check(ctx); err != nil {
		return nil, err
	}
	return []provider{{[]byte("k8s:enc:kms:v2:" + e.Name + ":"), k}}, nil
}

// Check asks every KMS plugin for its health, at most once a minute each.
func (r *Rules) Check(ctx context.Context) error {
	var errs []error
	for i, k := range r.kms {
		if err := k.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("kms-provider-%d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Check is that of the rules that the store follows now.
func (s *Store) Check(ctx context.Context) error { return s.rules.Load().Check(ctx) }

// Rules are those that the store follows now.
func (s *Store) Rules() *Rules { return s.rules.Load() }

// Close closes the connections to KMS plugins.
func (r *Rules) Close() error {
	var errs []error
	for _, k := range r.kms {
		if p, ok := k.service.(*plugin); ok {
			errs = append(errs, p.conn.Close())
		}
	}
	return errors.Join(errs...)
}
