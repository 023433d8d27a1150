package process

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/authn"
	hookfile "proa.dev/apiserver/authn/kubeconfig"
	"proa.dev/apiserver/authn/oidc"
	tokenhook "proa.dev/apiserver/authn/webhook"
	"proa.dev/apiserver/authz"
	accesshook "proa.dev/apiserver/authz/webhook"
	"proa.dev/apiserver/rest"
	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// identity is how the API server knows who asks and decides what they may, as the configuration says.
type identity struct {
	config    []byte                       // the file api.authentication, as it was read
	providers atomic.Pointer[oidc.Checker] // of that file; replaced when it changes
	anonymous atomic.Pointer[oidc.Config]
	access    []byte        // the file api.authorization, as it was read
	decides   authz.Current // what that file says; replaced when it changes
	node      *authz.Node
	used      chan *core.Secret // whose token is used, the first time on a day
}

// audiences are those of the API server.
func audiences() []string { return []string{authn.DefaultIssuer} }

func (s *server) authenticator(view client.View) (authn.Authenticator, error) {
	s.identity.used = make(chan *core.Secret, 64)
	tokens, err := authn.NewTokens(authn.TokensConfig{Issuer: authn.DefaultIssuer, Keys: s.cluster.ServiceAccountKeys(), Objects: view,
		Used: func(secret *core.Secret) {
			select {
			case s.identity.used <- secret:
			default: // the next use tells again
			}
		}})
	if err != nil {
		return nil, err
	}
	bearer := &authn.Bearer{Audiences: audiences(), Checkers: []authn.TokenChecker{
		tokens, authn.BootstrapTokens{Objects: view, Audiences: audiences()}}}
	if path := s.config.API.Authentication; path != "" {
		if s.identity.config, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("api.authentication: %w", err)
		}
		if err := s.identity.configure(path, s.identity.config); err != nil {
			return nil, fmt.Errorf("api.authentication: %w", err)
		}
		bearer.Checkers = append(bearer.Checkers, providers{&s.identity})
	}
	if path := s.config.API.TokenWebhook; path != "" {
		hook, err := hookfile.Read(path)
		if err != nil {
			return nil, fmt.Errorf("api.tokenWebhook: %w", err)
		}
		bearer.Checkers = append(bearer.Checkers, tokenhook.New(hook, audiences(), s.config.API.TokenWebhookTTL))
	}
	proxies := &authn.FrontProxy{Roots: s.cluster.FrontProxyCAPool(), Names: []string{"front-proxy-client"}}
	return authn.WithAnonymous{Next: authn.Chain{proxies, authn.NewCert(s.cluster.CAPool()), bearer}, May: s.identity.mayBeAnonymous}, nil
}

// configure takes what the file api.authentication says now.
func (i *identity) configure(path string, data []byte) error {
	c, err := oidc.Parse(path, data)
	if err != nil {
		return err
	}
	checker, err := oidc.New(c, audiences())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	i.providers.Store(checker)
	i.anonymous.Store(c)
	return nil
}

// mayBeAnonymous says whether anybody may ask for path.
func (i *identity) mayBeAnonymous(path string) bool {
	c := i.anonymous.Load()
	if c == nil || c.Anonymous == nil {
		return true
	}
	if !c.Anonymous.Enabled {
		return false
	}
	for _, cond := range c.Anonymous.Conditions {
		if cond.Path == path {
			return true
		}
	}
	return len(c.Anonymous.Conditions) == 0
}

// providers are the identity providers of now.
type providers struct{ *identity }

// CheckToken implements authn.TokenChecker.
func (p providers) CheckToken(ctx context.Context, token string, want []string) (authn.User, []string, bool, error) {
	return p.providers.Load().CheckToken(ctx, token, want)
}

func (s *server) authorizer(view client.View) (authz.Authorizer, error) {
	s.rbac = authz.NewRBAC(view)
	path := s.config.API.Authorization
	if path == "" {
		return authz.Union{authz.NewNode(view), s.rbac}, nil
	}
	var err error
	if s.identity.access, err = os.ReadFile(path); err != nil {
		return nil, fmt.Errorf("api.authorization: %w", err)
	}
	s.identity.node = authz.NewNode(view)
	if err := s.authorise(path, s.identity.access); err != nil {
		return nil, fmt.Errorf("api.authorization: %w", err)
	}
	return &s.identity.decides, nil
}

// authorise has what the file api.authorization says now decide.
func (s *server) authorise(path string, data []byte) error {
	c, err := accesshook.Parse(path, data)
	if err != nil {
		return err
	}
	all := authz.Union{authz.Privileged{}} // whoever a webhook would lock out, the cluster itself must go on
	for _, a := range c.Authorizers {
		switch a.Type {
		case "Node":
			all = append(all, s.identity.node)
		case "RBAC":
			all = append(all, s.rbac)
		case "Webhook":
			hook, err := hookfile.Read(*a.Webhook.Connection.File)
			if err != nil {
				return err
			}
			w, err := accesshook.New(a.Name, *a.Webhook, hook)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			all = append(all, w)
		}
	}
	s.identity.decides.Set(all)
	return nil
}

func (s *server) issuer(view client.View) (rest.Issuer, error) {
	var err error
	s.accounts, err = authn.NewIssuer(authn.IssuerConfig{URL: authn.DefaultIssuer, Signer: s.cluster.ServiceAccountSigner(), Objects: view,
		MaxLife: s.config.API.MaxTokenLife})
	return s.accounts, err
}

// identityParts is what runs beside: the files that say who may do what are followed, and the use of tokens in secrets is noted.
func (s *server) identityParts() []run.Component {
	parts := []run.Component{{Name: "use of tokens", Run: s.noteUse}}
	if path := s.config.API.Authentication; path != "" {
		parts = append(parts, s.reloading("authentication", path, s.identity.config, s.identity.configure))
	}
	if path := s.config.API.Authorization; path != "" {
		parts = append(parts, s.reloading("authorization", path, s.identity.access, s.authorise))
	}
	return parts
}

// noteUse labels secrets whose token is used with the day.
func (s *server) noteUse(ctx context.Context) error {
	api := s.as("system:apiserver")
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case secret := <-s.identity.used:
			day := time.Now().UTC().Format(time.DateOnly)
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": secret.UID, "labels": map[string]string{authn.LastUsedLabel: day}}})
			if err != nil {
				return err
			}
			t := client.Target{Resource: object.ResourceOf[core.Secret](), Key: object.KeyOf(secret)}
			if _, err := api.Patch(ctx, t, client.Patch{Type: types.MergePatchType, Data: patch}, metav1.PatchOptions{}); err != nil && ctx.Err() == nil {
				s.log.Warn("note the use of a token", "ns", secret.Namespace, "name", secret.Name, "err", err)
			}
		}
	}
}

// tokenTracking says since when the use of tokens in secrets is noted: before that day, nobody can tell which of them are unused.
func tokenTracking(ctx context.Context, c client.Client) error {
	_, err := client.Create(ctx, c, &core.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-apiserver-legacy-service-account-token-tracking"},
		Data:       map[string]string{"since": time.Now().UTC().Format(time.DateOnly)},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
