package authn

import (
	"context"
	"crypto/subtle"
	"regexp"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/object"
)

// BootstrapTokens knows the tokens by which machines join: "abcdef.0123456789abcdef", kept as secrets of their own type in kube-system.
type BootstrapTokens struct {
	Objects   Finder
	Audiences []string // of the API server
}

// Compiled on first use: the group's, with its 255 repetitions, takes as long as all else of a start's initialisation here.
var (
	bootstrapToken = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`) })
	bootstrapGroup = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`)
	})
)

// CheckToken implements TokenChecker. What is not a good token is none: who guesses shall not learn how close they are.
func (b BootstrapTokens) CheckToken(_ context.Context, token string, audiences []string) (User, []string, bool, error) {
	m := bootstrapToken().FindStringSubmatch(token)
	match := intersect(audiences, b.Audiences)
	if m == nil || len(match) == 0 {
		return User{}, nil, false, nil
	}
	o, ok := b.Objects.Lookup(object.ResourceOf[core.Secret](), object.Key{Namespace: metav1.NamespaceSystem, Name: "bootstrap-token-" + m[1]})
	if !ok {
		return User{}, nil, false, nil
	}
	s := o.(*core.Secret)
	if s.DeletionTimestamp != nil || s.Type != core.SecretTypeBootstrapToken || string(s.Data["token-id"]) != m[1] ||
		subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(m[2])) != 1 || bootstrapExpired(s, time.Now()) ||
		string(s.Data["usage-bootstrap-authentication"]) != "true" {
		return User{}, nil, false, nil
	}
	groups := []string{"system:bootstrappers"}
	if extra := string(s.Data["auth-extra-groups"]); extra != "" {
		for g := range strings.SplitSeq(extra, ",") {
			if !bootstrapGroup().MatchString(g) {
				return User{}, nil, false, nil
			}
			groups = append(groups, g)
		}
	}
	return User{Name: "system:bootstrap:" + m[1], Groups: groups}, match, true, nil
}

// bootstrapExpired says whether a bootstrap token's time is over. One whose end cannot be read has ended.
func bootstrapExpired(s *core.Secret, now time.Time) bool {
	text := string(s.Data["expiration"])
	if text == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, text)
	return err != nil || !now.Before(end)
}
