package process

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"proa.dev/kinds"
	"proa.dev/kinds/all"
	"proa.dev/kit/filewatch"
	"proa.dev/kit/run"
	"proa.dev/store/crypt"
)

// encryptionLimit bounds the first answers of KMS plugins.
const encryptionLimit = 20 * time.Second

// encrypted is the store behind encryption at rest, and what it needs to run.
type encrypted struct {
	*crypt.Store
	under storage
}

// Run runs the store under it.
func (e encrypted) Run(ctx context.Context) error { return e.under.Run(ctx) }

// encrypt puts encryption at rest in front of the store, if the configuration names a file for it.
func (s *server) encrypt() error {
	path := s.config.API.Encryption
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("api.encryption: %w", err)
	}
	rules, err := readRules(context.Background(), path, data)
	if err != nil {
		return fmt.Errorf("api.encryption: %w", err)
	}
	s.crypt = crypt.New(s.store, rules, resourceOf(all.Kinds()))
	s.store = encrypted{s.crypt, s.store}
	s.closers = append(s.closers, func() error { return s.crypt.Rules().Close() })
	s.parts = append(s.parts, run.Component{Name: "encryption configuration", Run: func(ctx context.Context) error {
		return filewatch.Run(ctx, path, data, func(data []byte) { s.newRules(ctx, path, data) })
	}})
	return nil
}

func readRules(ctx context.Context, path string, data []byte) (*crypt.Rules, error) {
	ctx, cancel := context.WithTimeout(ctx, encryptionLimit)
	defer cancel()
	return crypt.Parse(ctx, path, data)
}

// newRules makes the store follow a file that has changed. One that cannot be used is logged, and the old rules stay.
func (s *server) newRules(ctx context.Context, path string, data []byte) {
	rules, err := readRules(ctx, path, data)
	if err != nil {
		s.log.Error("the encryption configuration has changed and cannot be used; the old one stays", "err", err)
		return
	}
	old := s.crypt.Rules()
	s.crypt.Use(rules)
	s.log.Info("the encryption configuration has changed", "resources", strings.Join(rules.Resources(), ","))
	time.AfterFunc(encryptionLimit, func() { // for who still uses it
		if err := old.Close(); err != nil {
			s.log.Debug("close KMS connections", "err", err)
		}
	})
}

// resourceOf says what a key of the store belongs to: /registry/secrets/..., /registry/services/specs/..., and for what has no kind here
// /registry/<group>/<resource>/...
func resourceOf(list []*kinds.Kind) func(key string) crypt.Resource {
	known := map[string]crypt.Resource{}
	for _, k := range list {
		known[k.Storage] = crypt.Resource{Group: k.Group, Name: k.Resource.Resource}
	}
	return func(key string) crypt.Resource {
		first, rest, _ := strings.Cut(strings.TrimPrefix(key, "/registry/"), "/")
		second, _, _ := strings.Cut(rest, "/")
		if r, ok := known[first+"/"+second]; ok {
			return r
		}
		if r, ok := known[first]; ok {
			return r
		}
		if strings.Contains(first, ".") {
			return crypt.Resource{Group: first, Name: second}
		}
		return crypt.Resource{Name: first}
	}
}

// reencrypt rewrites what the first provider of its rule has not written, of these resources ("secrets", "deployments.apps"); none: of all.
func (s *server) reencrypt(ctx context.Context, names []string, tell func(crypt.Progress)) (crypt.Progress, error) {
	if s.crypt == nil {
		return crypt.Progress{}, fmt.Errorf("the server encrypts nothing: set api.encryption")
	}
	return s.crypt.Reencrypt(ctx, "/registry/", func(r crypt.Resource) bool {
		for _, n := range names {
			name, group, _ := strings.Cut(n, ".")
			if r.Group == group && (r.Name == name || name == "*") || n == "*.*" {
				return true
			}
		}
		return len(names) == 0
	}, tell)
}
