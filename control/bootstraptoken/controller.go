package bootstraptoken

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// infoKey is what tells machines that have not joined about the cluster, and signature the beginning of the keys of its signatures.
var infoKey = object.Key{Namespace: metav1.NamespacePublic, Name: "cluster-info"}

const (
	kubeconfig = "kubeconfig"
	signature  = "jws-kubeconfig-"
)

// Controller is the one of all bootstrap tokens.
type Controller struct {
	deps control.Deps
	now  func() time.Time
}

// New makes the controller; see Run.
func New(d control.Deps) (*Controller, error) { return &Controller{d, time.Now}, nil }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	l := control.Loop{
		Name: "bootstraptoken", View: c.deps.View, Log: c.deps.Logger("bootstraptoken"), Do: c, Workers: 1,
		Sources: []control.Source{
			control.On(func(s, _ *core.Secret, wake func(object.Key)) {
				if s.Namespace == metav1.NamespaceSystem && s.Type == core.SecretTypeBootstrapToken {
					wake(object.KeyOf(s))
					wake(infoKey)
				}
			}),
			control.On(func(m, _ *core.ConfigMap, wake func(object.Key)) {
				if object.KeyOf(m) == infoKey {
					wake(infoKey)
				}
			}),
		},
	}
	return l.Run(ctx)
}

// Reconcile deletes one token when its time is over, or signs what is to be signed. Safe to repeat.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	if key == infoKey {
		return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, c.sign())
	}
	s, ok := client.Lookup[core.Secret](c.deps.View, key)
	if !ok || s.Type != core.SecretTypeBootstrapToken || s.DeletionTimestamp != nil {
		return control.Done, nil
	}
	end, ok := expires(s)
	switch now := c.now(); {
	case !ok:
		return control.Done, nil
	case now.Before(end):
		return control.Until(end, now), nil
	}
	return control.Done, control.Apply(ctx, c.deps.Client, c.deps.Events, []control.Change{{Op: control.Delete, Object: s}})
}

// expires is when a token ends; false: never. One whose end cannot be read has ended.
func expires(s *core.Secret) (time.Time, bool) {
	text := string(s.Data["expiration"])
	if text == "" {
		return time.Time{}, false
	}
	end, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, true
	}
	return end, true
}

// sign makes the signatures of cluster-info those of the tokens that sign now.
func (c *Controller) sign() []control.Change {
	info, ok := client.Lookup[core.ConfigMap](c.deps.View, infoKey)
	if !ok || info.Data[kubeconfig] == "" {
		return nil
	}
	data := maps.Clone(info.Data)
	maps.DeleteFunc(data, func(k, _ string) bool { return strings.HasPrefix(k, signature) })
	for _, s := range client.ListOf[core.Secret](c.deps.View, client.Select{Namespace: metav1.NamespaceSystem}) {
		id, secret := string(s.Data["token-id"]), s.Data["token-secret"]
		end, ends := expires(s)
		if s.Type != core.SecretTypeBootstrapToken || s.DeletionTimestamp != nil || string(s.Data["usage-bootstrap-signing"]) != "true" ||
			id == "" || len(secret) == 0 || s.Name != "bootstrap-token-"+id || ends && !c.now().Before(end) {
			continue
		}
		data[signature+id] = detached(info.Data[kubeconfig], id, secret)
	}
	if maps.Equal(data, info.Data) {
		return nil
	}
	n := object.Clone(info)
	n.Data = data
	return []control.Change{{Op: control.Update, Object: n}}
}

// detached is the JWS of content without content, by the token's secret.
func detached(content, id string, secret []byte) string {
	enc := base64.RawURLEncoding.EncodeToString
	kid, _ := json.Marshal(id) // a string has a JSON form
	header := enc(fmt.Appendf(nil, `{"alg":"HS256","kid":%s}`, kid))
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s", header, enc([]byte(content)))
	return header + ".." + enc(mac.Sum(nil))
}
