package accounttoken

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Config is what the controller needs beyond control.Deps.
type Config struct {
	// Sign makes the token that stands in a secret of an account.
	Sign func(account *core.ServiceAccount, secret string) (string, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Controller is the one of all secrets with tokens of service accounts.
type Controller struct {
	deps   control.Deps
	config Config
}

// New makes the controller; see Run. It needs Config.Sign.
func New(d control.Deps, c Config) (*Controller, error) {
	if c.Sign == nil {
		return nil, errors.New("accounttoken: nothing to sign with")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Controller{d, c}, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "accounttoken", View: c.deps.View, Log: c.deps.Logger("accounttoken"), Do: c,
		Sources: []control.Source{
			control.On(func(s, _ *core.Secret, wake func(object.Key)) {
				if s.Type == core.SecretTypeServiceAccountToken {
					wake(object.KeyOf(s))
				}
			}),
			// An account that appears or goes is rare, and so are such secrets: looking at those of its namespace is enough.
			control.On(func(a, old *core.ServiceAccount, wake func(object.Key)) {
				if old != nil && old.UID == a.UID && slices.Equal(old.Secrets, a.Secrets) {
					if _, there := client.Lookup[core.ServiceAccount](c.deps.View, object.KeyOf(a)); there {
						return
					}
				}
				for _, s := range client.ListOf[core.Secret](c.deps.View, client.Select{Namespace: a.Namespace}) {
					if s.Type == core.SecretTypeServiceAccountToken && s.Annotations[core.ServiceAccountNameKey] == a.Name {
						wake(object.KeyOf(s))
					}
				}
			}),
		},
	}
	return l.Run(ctx)
}

// Reconcile fills one secret in, or deletes it. Safe to repeat.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	s, ok := client.Lookup[core.Secret](c.deps.View, key)
	if !ok {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, c.forget(key))
	}
	if s.Type != core.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil || s.Annotations[core.ServiceAccountNameKey] == "" {
		return control.Done, nil
	}
	account := c.account(s)
	if account == nil {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Delete, Object: s}})
	}
	changes, err := c.fill(s, account)
	if err != nil {
		return control.Done, err
	}
	again := control.Done
	if len(changes) == 0 {
		changes, again = c.stale(s, account)
	}
	return again, control.Apply(ctx, c.deps.Client, c.deps.Events, changes)
}

// account is the one that a secret belongs to; nil if it is not there, or another one by the same name.
func (c *Controller) account(s *core.Secret) *core.ServiceAccount {
	a, ok := client.Lookup[core.ServiceAccount](c.deps.View, object.Key{Namespace: s.Namespace, Name: s.Annotations[core.ServiceAccountNameKey]})
	if uid := s.Annotations[core.ServiceAccountUIDKey]; !ok || uid != "" && uid != string(a.UID) {
		return nil
	}
	return a
}

// fill is what a secret lacks.
func (c *Controller) fill(s *core.Secret, a *core.ServiceAccount) ([]control.Change, error) {
	needCA := len(c.deps.CAPEM) > 0 && !bytes.Equal(s.Data[core.ServiceAccountRootCAKey], c.deps.CAPEM)
	needNamespace, needToken := len(s.Data[core.ServiceAccountNamespaceKey]) == 0, len(s.Data[core.ServiceAccountTokenKey]) == 0
	if !needCA && !needNamespace && !needToken {
		return nil, nil
	}
	n := object.Clone(s)
	if n.Data == nil {
		n.Data = map[string][]byte{}
	}
	if needCA {
		n.Data[core.ServiceAccountRootCAKey] = c.deps.CAPEM
	}
	if needNamespace {
		n.Data[core.ServiceAccountNamespaceKey] = []byte(s.Namespace)
	}
	if needToken {
		token, err := c.config.Sign(a, s.Name)
		if err != nil {
			return nil, err
		}
		n.Data[core.ServiceAccountTokenKey] = []byte(token)
	}
	n.Annotations[core.ServiceAccountUIDKey] = string(a.UID)
	return []control.Change{{Op: control.Update, Object: n}}, nil
}

// forget takes a secret that is gone out of the accounts that list it.
func (c *Controller) forget(key object.Key) (changes []control.Change) {
	listed := func(r core.ObjectReference) bool { return r.Name == key.Name }
	for _, a := range client.ListOf[core.ServiceAccount](c.deps.View, client.Select{Namespace: key.Namespace}) {
		if a.DeletionTimestamp != nil || !slices.ContainsFunc(a.Secrets, listed) {
			continue
		}
		n := object.Clone(a)
		n.Secrets = slices.DeleteFunc(n.Secrets, listed)
		changes = append(changes, control.Change{Op: control.Update, Object: n})
	}
	return changes
}
