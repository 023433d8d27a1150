package process

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/config"
	"proa.dev/kit/prom"
	"proa.dev/kit/run"
)

func access(types ...string) string {
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"
	for _, t := range types {
		text += "- {type: " + t + ", name: " + strings.ToLower(t) + "}\n"
	}
	return text
}

// TestAuthorizationIsReadAgain changes the file that says who decides while it is in use.
func TestAuthorizationIsReadAgain(t *testing.T) {
	api := apitest.Start(t)
	if _, err := client.Create(t.Context(), api.Client, &rbac.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "jane"}, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbac.Subject{{APIGroup: rbac.GroupName, Kind: "User", Name: "jane"}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), api.Client, &rbac.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-admin"}, Rules: []rbac.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
	}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "access.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(access("Node", "RBAC"))
	s := &server{config: &config.Config{API: config.API{Authorization: path}}, log: slog.New(slog.DiscardHandler)}
	z, err := s.authorizer(api.View())
	if err != nil {
		t.Fatal(err)
	}
	var follow run.Component
	for _, p := range s.identityParts() {
		if p.Name == "authorization configuration" {
			follow = p
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- s.rbac.Run(ctx) }()
	go func() { done <- follow.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}()
	ask := authz.Attributes{User: authn.User{Name: "jane"}, Verb: "get", Version: "v1", Resource: "pods", ResourceRequest: true}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not %s after 10 s", what)
			}
		}
	}
	may := func() bool { d, _ := z.Authorize(ctx, ask); return d.Allowed }
	counted := func(status, want string) func() bool {
		return func() bool {
			var p prom.Page
			s.reloads.write(&p, "a")
			for line := range strings.Lines(p.String()) {
				if strings.HasPrefix(line, "apiserver_authorization_config_controller_automatic_reloads_total{") && strings.Contains(line, `status="`+status+`"} `+want) {
					return true
				}
			}
			return false
		}
	}
	until("allowed by RBAC", may)
	write("nonsense: [")
	until("a failure", counted("failure", "1"))
	if !may() {
		t.Error("a file that cannot be read has taken effect")
	}
	write(access("Node"))
	until("refused without RBAC", func() bool { return !may() })
	until("a success", counted("success", "1"))
	write(access("RBAC"))
	until("allowed again", may)
}
