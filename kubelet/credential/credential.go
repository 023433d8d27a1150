package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kit/dockerauth"
	"proa.dev/kubelet/pulled"
)

// patience is how long a plugin may take, and maxAnswer how much it may say, in bytes.
const (
	patience  = time.Minute
	maxAnswer = 1 << 20
)

// tokenLife is how long the tokens are good that plugins get, in seconds.
const tokenLife = 3600

// Deps are what the plugins need of the cluster.
type Deps struct {
	Config, Programs string // the configuration file, and the directory with the plugins
	// Account is a service account, Token a token of the pod's for an audience.
	Account func(ctx context.Context, namespace, name string) (*core.ServiceAccount, error)
	Token   func(ctx context.Context, pod *core.Pod, audience string, seconds int64) (string, error)
	Log     *slog.Logger
}

// Plugins are all of a node.
type Plugins struct {
	Deps
	list []*plugin
}

// New reads the configuration.
func New(d Deps) (*Plugins, error) {
	list, err := read(d.Config, d.Programs)
	if err != nil {
		return nil, fmt.Errorf("credential providers: %w", err)
	}
	return &Plugins{d, list}, nil
}

// plugin is one, with what it has said.
type plugin struct {
	provider
	program string

	mu   sync.Mutex // guards kept; held while the program runs, so that it runs once for all who ask for the same
	kept map[string]answer
}

// answer is what a plugin said, until it has to be asked again.
type answer struct {
	auth  map[string]dockerauth.Entry
	until time.Time
}

// request and response are what passes between kubelet and plugin.
type request struct {
	metav1.TypeMeta `json:",inline"`
	Image           string            `json:"image"`
	Token           string            `json:"serviceAccountToken,omitempty"`
	Annotations     map[string]string `json:"serviceAccountAnnotations,omitempty"`
}

type response struct {
	metav1.TypeMeta `json:",inline"`
	CacheKeyType    string           `json:"cacheKeyType"` // "Image", "Registry", "Global"
	CacheDuration   *metav1.Duration `json:"cacheDuration"`
	Auth            map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// For are the credentials for an image that a pod wants, the closest match first, and of those that match alike, those of the first plugin.
func (p *Plugins) For(ctx context.Context, image string, pod *core.Pod) []pulled.Credential {
	type found struct {
		dockerauth.Match
		account *core.ServiceAccount
	}
	var all []found
	for _, one := range p.list {
		if !one.isFor(image) {
			continue
		}
		auth, account, err := p.ask(ctx, one, image, pod)
		if err != nil {
			if ctx.Err() == nil {
				p.Log.Warn("credentials not provided", "provider", one.Name, "image", image, "ns", pod.Namespace, "name", pod.Name, "err", err)
			}
			continue
		}
		for _, m := range dockerauth.All(auth, image) {
			all = append(all, found{m, account})
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return dockerauth.Closer(a.Match, b.Match) })
	var out []pulled.Credential
	for _, f := range all {
		out = append(out, pulled.Credential{Entry: f.Entry, Account: f.account})
	}
	return out
}

func (one *plugin) isFor(image string) bool {
	patterns := map[string]dockerauth.Entry{}
	for _, m := range one.MatchImages {
		patterns[m] = dockerauth.Entry{}
	}
	_, ok := dockerauth.Best(patterns, image)
	return ok
}

// ask returns what the plugin says, or said not long ago, and the service account whose token it was shown; nil: none.
func (p *Plugins) ask(ctx context.Context, one *plugin, image string, pod *core.Pod) (map[string]dockerauth.Entry, *core.ServiceAccount, error) {
	req := request{metav1.TypeMeta{Kind: "CredentialProviderRequest", APIVersion: pluginVersion}, image, "", nil}
	who := "" // the part of a key that says whose credentials these are
	var account *core.ServiceAccount
	if t := one.Token; t != nil {
		name := pod.Spec.ServiceAccountName
		if name == "" && *t.Require {
			return nil, nil, nil
		}
		if name != "" {
			var err error
			if who, account, err = p.identify(ctx, one, pod, &req); err != nil || account == nil {
				return nil, nil, err
			}
		}
	}
	registry, _, _ := strings.Cut(image, "/")
	one.mu.Lock()
	defer one.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(one.kept, func(_ string, a answer) bool { return !now.Before(a.until) })
	for _, key := range []string{"Image " + image, "Registry " + registry, "Global"} {
		if a, ok := one.kept[key+who]; ok {
			return a.auth, account, nil
		}
	}
	res, err := one.run(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	key, ok := map[string]string{"Image": "Image " + image, "Registry": "Registry " + registry, "Global": "Global"}[res.CacheKeyType]
	if !ok {
		return nil, nil, fmt.Errorf("credential provider plugin did not return a valid cacheKeyType: %s", res.CacheKeyType)
	}
	auth := map[string]dockerauth.Entry{}
	for where, a := range res.Auth {
		if req.Token != "" && a.Password == req.Token && one.Token.Cache != "Token" {
			return nil, nil, errors.New("credential provider plugin returned the service account token as the password which is not allowed when service account cache type is not set to 'Token'")
		}
		auth[where] = dockerauth.Entry{Username: a.Username, Password: a.Password}
	}
	life := one.DefaultCacheDuration.Duration
	if res.CacheDuration != nil {
		life = res.CacheDuration.Duration
	}
	if life > 0 {
		one.kept[key+who] = answer{auth, now.Add(life)}
	}
	return auth, account, nil
}

// identify adds a token of the pod's service account to a request, and the annotations that the plugin wants to see. An account without
// one that it insists on does not want this plugin: account is nil then.
func (p *Plugins) identify(ctx context.Context, one *plugin, pod *core.Pod, req *request) (who string, account *core.ServiceAccount, err error) {
	t := one.Token
	account, err = p.Account(ctx, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return "", nil, fmt.Errorf("failed to get service account: %w", err)
	}
	req.Annotations = map[string]string{}
	for _, key := range slices.Concat(t.Required, t.Optional) {
		if v, ok := account.Annotations[key]; ok {
			req.Annotations[key] = v
		} else if slices.Contains(t.Required, key) {
			return "", nil, nil
		}
	}
	if req.Token, err = p.Token(ctx, pod, t.Audience, tokenLife); err != nil {
		return "", nil, fmt.Errorf("failed to get service account token: %w", err)
	}
	key := []any{account.Namespace, account.Name, account.UID, req.Annotations}
	if t.Cache == "Token" {
		key = append(key, req.Token)
	}
	text, err := json.Marshal(key)
	return string(text), account, err
}

// run executes the plugin.
func (one *plugin) run(ctx context.Context, req request) (*response, error) {
	in, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, one.program, one.Args...)
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(in)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limited{&out}, &limited{&said}
	cmd.Env = os.Environ()
	for _, v := range one.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("error execing credential provider plugin %s for image %s: %w: %s", one.Name, req.Image, err, strings.TrimSpace(said.String()))
	}
	res := new(response)
	if err := json.Unmarshal(out.Bytes(), res); err != nil {
		return nil, fmt.Errorf("answer of plugin %s: %w", one.Name, err)
	}
	if res.APIVersion != pluginVersion || res.Kind != "CredentialProviderResponse" {
		return nil, fmt.Errorf("apiVersion from credential plugin response did not match expected apiVersion:%s, actual apiVersion:%s", pluginVersion, res.APIVersion)
	}
	return res, nil
}

// limited takes maxAnswer bytes and then fails.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > maxAnswer {
		return 0, io.ErrShortWrite
	}
	return l.b.Write(p)
}
