package webhook

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	authentication "k8s.io/api/authentication/v1"

	"proa.dev/apiserver/authn"
)

// hook answers what it is told to.
type hook struct {
	asked  []authentication.TokenReviewSpec
	status authentication.TokenReviewStatus
	err    error
}

func (h *hook) Post(_ context.Context, in, out any) error {
	h.asked = append(h.asked, in.(authentication.TokenReview).Spec)
	out.(*authentication.TokenReview).Status = h.status
	return h.err
}

func TestAnswersOfTheWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hook{status: authentication.TokenReviewStatus{Authenticated: true, User: authentication.UserInfo{
			Username: "eve", UID: "1", Groups: []string{"dev"}, Extra: map[string]authentication.ExtraValue{"k": {"v"}}}}}
		c := New(h, []string{"api"}, 0)
		ask := func() (authn.User, []string, bool, error) {
			return c.CheckToken(t.Context(), "secret", []string{"api"})
		}
		want := authn.User{Name: "eve", UID: "1", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}}
		for range 2 {
			if u, aud, ok, err := ask(); err != nil || !ok || !cmp.Equal(u, want) || !cmp.Equal(aud, []string{"api"}) {
				t.Errorf("%+v, %v, %v, %v", u, aud, ok, err)
			}
		}
		if len(h.asked) != 1 || h.asked[0].Token != "secret" || !cmp.Equal(h.asked[0].Audiences, []string{"api"}) {
			t.Errorf("asked %+v", h.asked)
		}
		time.Sleep(2*time.Minute + time.Second)
		h.status = authentication.TokenReviewStatus{Error: "no such token"}
		if _, _, ok, err := ask(); ok || err == nil || err.Error() != "no such token" {
			t.Errorf("%v, %v", ok, err)
		}
		time.Sleep(2*time.Minute + time.Second)
		h.err = errors.New("down")
		for range 2 { // that nobody answered is not remembered
			if _, _, ok, err := ask(); ok || err == nil {
				t.Errorf("%v, %v", ok, err)
			}
		}
		if len(h.asked) != 4 {
			t.Errorf("asked %d times", len(h.asked))
		}
		h.err, h.status = nil, authentication.TokenReviewStatus{Authenticated: true, Audiences: []string{"vault"}}
		if _, _, ok, err := ask(); ok || err == nil {
			t.Errorf("a token for another audience: %v, %v", ok, err)
		}
	})
}
