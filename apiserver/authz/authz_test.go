package authz

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	resource "k8s.io/api/resource/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/apiserver/authn"
	"proa.dev/client"
	"proa.dev/control/controltest"
	"proa.dev/object"
)

func examples() []object.Object {
	return []object.Object{&rbac.ClusterRole{}, &rbac.Role{}, &rbac.ClusterRoleBinding{}, &rbac.RoleBinding{}, &core.Pod{}, &core.PersistentVolumeClaim{}, &core.PersistentVolume{},
		&storage.VolumeAttachment{}, &resource.ResourceSlice{}, &certificates.PodCertificateRequest{}}
}

// world is an API with the default roles and an authorizer that follows it. It belongs to a synctest bubble.
func world(t *testing.T) (*controltest.API, *RBAC) {
	t.Helper()
	api := controltest.New(t)
	api.Serve(examples()...)
	if err := Reconcile(t.Context(), api.Client()); err != nil {
		t.Fatal(err)
	}
	z := NewRBAC(api.View())
	controltest.Run(t, z.Run)
	synctest.Wait()
	return api, z
}

func user(name string, groups ...string) authn.User {
	return authn.User{Name: name, Groups: append(groups, authn.Authenticated)}
}

// ask reads "verb group/resource/sub namespace name", with - for nothing.
func ask(u authn.User, q string) Attributes {
	w := strings.Fields(q)
	if strings.HasPrefix(w[1], "url:") {
		return Attributes{User: u, Verb: w[0], Path: strings.TrimPrefix(w[1], "url:")}
	}
	for i := range w {
		w[i] = strings.TrimPrefix(w[i], "-")
	}
	group, res, _ := strings.Cut(w[1], "/")
	res, sub, _ := strings.Cut(res, "/")
	return Attributes{User: u, Verb: w[0], Group: group, Version: "v1", Resource: res, Sub: sub, Namespace: w[2], Name: w[3], ResourceRequest: true}
}

func bind(ns, name, role string, s ...rbac.Subject) object.Object {
	return &rbac.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: role}, Subjects: s}
}

func TestDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		api.Put(
			bind("shop", "edit", "edit", rbac.Subject{Kind: "User", Name: "bob"}, rbac.Subject{Kind: "ServiceAccount", Name: "web", Namespace: "shop"}),
			bind("shop", "view", "view", rbac.Subject{Kind: "Group", Name: "dev"}),
			bind("shop", "broken", "nothing", rbac.Subject{Kind: "User", Name: "carl"}),
			&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "odd"}, Rules: []rbac.PolicyRule{
				{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"one"}},
				{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*/scale"}},
				{Verbs: []string{"get"}, NonResourceURLs: []string{"/logs/*"}},
			}},
			&rbac.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "odd"}, RoleRef: rbac.RoleRef{Kind: "ClusterRole", Name: "odd"},
				Subjects: []rbac.Subject{{Kind: "User", Name: "odd"}}},
		)
		synctest.Wait()
		account := authn.AccountUser("shop", "web", "")
		for _, c := range []struct {
			u    authn.User
			q    string
			want bool
		}{
			{user("root", authn.Masters), "delete /nodes - n1", true}, {user("root", authn.Masters), "get url:/anything", true},
			{user("bob"), "create /pods shop -", true}, {user("bob"), "create apps/deployments shop -", true},
			{user("bob"), "create /pods/exec shop p", true}, {user("bob"), "create /pods other -", false},
			{user("bob"), "create rbac.authorization.k8s.io/roles shop -", false}, {user("bob"), "get /nodes - n", false},
			{user("bob"), "list /pods - -", false}, {account, "delete /configmaps shop c", true},
			{user("eve", "dev"), "get /pods shop p", true}, {user("eve", "dev"), "get /pods/log shop p", true},
			{user("eve", "dev"), "get /secrets shop s", false}, {user("eve", "dev"), "create /pods shop p", false},
			{user("eve"), "get url:/api/v1", true}, {user("eve"), "get url:/version", true}, {user("eve"), "get url:/metrics", false},
			{user("eve"), "create authorization.k8s.io/selfsubjectaccessreviews - -", true},
			{authn.User{Name: authn.Anonymous, Groups: []string{authn.Unauthenticated}}, "get url:/healthz", true},
			{authn.User{Name: authn.Anonymous, Groups: []string{authn.Unauthenticated}}, "get url:/api", false},
			{user("odd"), "get /configmaps x one", true}, {user("odd"), "get /configmaps x two", false},
			{user("odd"), "update apps/deployments/scale x d", true}, {user("odd"), "update apps/deployments x d", false},
			{user("odd"), "get url:/logs/a", true}, {user("odd"), "get url:/logs", false},
			{user("system:kube-scheduler"), "create /pods/binding shop p", true},
		} {
			d, err := z.Authorize(t.Context(), ask(c.u, c.q))
			if err != nil || d.Allowed != c.want {
				t.Errorf("%s: %s: %+v, %v", c.u.Name, c.q, d, err)
			}
		}
		d, _ := z.Authorize(t.Context(), ask(user("bob"), "get /pods shop p"))
		if want := `RBAC: allowed by RoleBinding "edit/shop" of ClusterRole "edit" to User "bob"`; d.Reason != want {
			t.Errorf("reason %q, want %q", d.Reason, want)
		}
		a := ask(user("carl"), "get /pods shop x")
		d, _ = z.Authorize(t.Context(), a)
		want := `pods "x" is forbidden: User "carl" cannot get resource "pods" in API group "" in the namespace "shop": RBAC: clusterrole.rbac.authorization.k8s.io "nothing" not found`
		if got := Forbidden(a, d.Reason).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestForbiddenWords(t *testing.T) {
	for q, want := range map[string]string{
		"get /pods default x":       `pods "x" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "default"`,
		"list apps/deployments - -": `deployments.apps is forbidden: User "bob" cannot list resource "deployments" in API group "apps" at the cluster scope`,
		"create /pods/exec d p":     `pods "p" is forbidden: User "bob" cannot create resource "pods/exec" in API group "" in the namespace "d"`,
		"get url:/logs/<x>":         `forbidden: User "bob" cannot get path "/logs/&lt;x&gt;"`,
	} {
		if got := Forbidden(ask(user("bob"), q), "").Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestIndexFollowsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		allowed := func() bool {
			t.Helper()
			synctest.Wait()
			d, err := z.Authorize(t.Context(), ask(user("bob"), "get /pods shop p"))
			if err != nil {
				t.Fatal(err)
			}
			return d.Allowed
		}
		b := bind("shop", "b", "view", rbac.Subject{Kind: "User", Name: "bob"}, rbac.Subject{Kind: "User", Name: "eve"})
		api.Put(b)
		if !allowed() {
			t.Error("denied after the binding was made")
		}
		api.Put(bind("shop", "b", "view", rbac.Subject{Kind: "User", Name: "eve"}))
		if allowed() {
			t.Error("allowed after the subject was removed")
		}
		api.Put(bind("shop", "b", "view", rbac.Subject{Kind: "User", Name: "bob"}))
		api.Remove(&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}})
		if allowed() {
			t.Error("allowed after the role was deleted")
		}
		api.Remove(b)
		synctest.Wait()
		if n := len(z.grant[place{namespace: "shop", name: "bob"}]); n != 0 {
			t.Errorf("%d grants are left", n)
		}
	})
}

func TestEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		api.Put(bind("shop", "edit", "edit", rbac.Subject{Kind: "User", Name: "bob"}))
		synctest.Wait()
		pods := rbac.PolicyRule{Verbs: []string{"get", "delete"}, APIGroups: []string{""}, Resources: []string{"pods"}}
		if err := z.Escalation(user("bob"), "shop", []rbac.PolicyRule{pods}); err != nil {
			t.Errorf("rights that bob has: %v", err)
		}
		nodes := rbac.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"nodes"}}
		err := z.Escalation(user("bob"), "shop", []rbac.PolicyRule{pods, nodes})
		want := "user \"bob\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n" +
			`{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if err := z.Escalation(user("root", authn.Masters), "", []rbac.PolicyRule{nodes}); err != nil {
			t.Error(err)
		}
	})
}

func TestNode(t *testing.T) {
	api := controltest.New(t)
	api.Serve(examples()...)
	pod := func(name, node string) *core.Pod {
		return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: core.PodSpec{
			NodeName: node, ServiceAccountName: "web",
			Volumes: []core.Volume{
				{Name: "s", VolumeSource: core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "s-" + name}}},
				{Name: "d", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "d"}}},
			},
			Containers: []core.Container{{Name: "c", EnvFrom: []core.EnvFromSource{{ConfigMapRef: &core.ConfigMapEnvSource{LocalObjectReference: core.LocalObjectReference{Name: "c-" + name}}}}}},
		}}
	}
	api.Put(pod("p1", "n1"), pod("p2", "n2"), &core.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "d"}, Spec: core.PersistentVolumeClaimSpec{VolumeName: "pv1"}},
		&core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv1"}, Spec: core.PersistentVolumeSpec{
			ClaimRef: &core.ObjectReference{Namespace: "shop", Name: "d"}, PersistentVolumeSource: core.PersistentVolumeSource{
				CSI: &core.CSIPersistentVolumeSource{NodeStageSecretRef: &core.SecretReference{Namespace: "vault", Name: "stage"}}}}},
		&storage.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va1"}, Spec: storage.VolumeAttachmentSpec{NodeName: "n1"}},
		&storage.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va2"}, Spec: storage.VolumeAttachmentSpec{NodeName: "n2"}})
	mirror := pod("mirror", "n1")
	mirror.Annotations = map[string]string{core.MirrorPodAnnotationKey: "x"}
	api.Put(mirror)
	for name, node := range map[string]types.NodeName{"mine": "n1", "other": "n2"} {
		api.Put(&certificates.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: certificates.PodCertificateRequestSpec{NodeName: node}})
	}
	z := NewNode(api.View())
	n1 := authn.User{Name: "system:node:n1", Groups: []string{authn.NodesGroup, authn.Authenticated}}
	for q, want := range map[string]bool{
		"get /secrets shop s-p1": true, "get /secrets shop s-p2": false, "list /secrets shop -": false, "watch /configmaps shop c-p1": true,
		"get /configmaps shop c-p2": false, "get /persistentvolumes - pv1": true, "get /persistentvolumes - pv2": false,
		"patch /nodes/status - n1": true, "list /nodes - -": false, "get /nodes - n1": true, "get /nodes - n2": false, "create /nodes - -": true,
		"update coordination.k8s.io/leases kube-node-lease n1": true, "update coordination.k8s.io/leases kube-node-lease n2": false,
		"update coordination.k8s.io/leases kube-system n1": false, "patch /pods/status shop p1": true, "get /pods/log shop p1": false,
		"get /pods shop p1": true, "get /pods shop p2": false, "list /pods shop p1": true, "list /pods - -": false, "create /serviceaccounts/token shop web": true,
		"create /serviceaccounts/token shop other": false, "create /events shop -": true, "delete /nodes - n1": false, "create apps/deployments shop -": false,
		"get /secrets vault stage": true, "get /secrets vault other": false, "get /secrets shop s-mirror": false, "get /secrets - s-p1": false,
		"watch /secrets shop s-p1": true, "list /secrets shop s-p1": true, "watch /secrets shop s-p2": false, "watch /secrets shop -": false,
		"watch /persistentvolumeclaims shop d": true, "list /persistentvolumeclaims shop d": true, "watch /persistentvolumeclaims shop e": false,
		"list /persistentvolumeclaims shop -": false, "watch /persistentvolumes - pv1": false,
		"create certificates.k8s.io/podcertificaterequests shop -": true, "get certificates.k8s.io/podcertificaterequests shop mine": true,
		"get certificates.k8s.io/podcertificaterequests shop other": false, "list certificates.k8s.io/podcertificaterequests shop -": false,
		"delete certificates.k8s.io/podcertificaterequests shop mine": false, "update certificates.k8s.io/podcertificaterequests/status shop mine": false,
		"watch certificates.k8s.io/clustertrustbundles - -": true, "create certificates.k8s.io/clustertrustbundles - -": false,
		"get storage.k8s.io/volumeattachments - va1": true, "get storage.k8s.io/volumeattachments - va2": false,
		"watch discovery.k8s.io/endpointslices - -": false, "update discovery.k8s.io/endpointslices shop web": false,
	} {
		d, err := z.Authorize(t.Context(), ask(n1, q))
		if err != nil || d.Allowed != want {
			t.Errorf("%s: %+v, %v", q, d, err)
		}
	}
	own := ask(n1, "list /pods - -")
	for value, want := range map[string]bool{"n1": true, "n2": false} {
		own.Fields = fields.OneTermEqualSelector("spec.nodeName", value).Requirements()
		if d, err := z.Authorize(t.Context(), own); err != nil || d.Allowed != want {
			t.Errorf("pods of %s: %+v, %v", value, d, err)
		}
	}
	if d, _ := z.Authorize(t.Context(), ask(user("system:node:n1"), "list /pods - -")); d.Allowed {
		t.Error("a user outside the group system:nodes is taken for a node")
	}
}

func TestImpersonate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		api.Put(&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, Rules: []rbac.PolicyRule{
			{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users", "serviceaccounts"}},
			{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"groups"}, ResourceNames: []string{"dev"}},
			{Verbs: []string{"impersonate"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"userextras/scopes"}},
		}}, &rbac.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, RoleRef: rbac.RoleRef{Kind: "ClusterRole", Name: "imp"},
			Subjects: []rbac.Subject{{Kind: "User", Name: "bob"}}})
		synctest.Wait()
		try := func(headers ...string) (authn.User, error) {
			r := httptest.NewRequest("GET", "/", nil)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Add(headers[i], headers[i+1])
			}
			u, err := Impersonate(t.Context(), r.Header, Attributes{User: user("bob"), Verb: "get", Path: "/"}, z)
			if err == nil && len(r.Header) != 0 {
				t.Errorf("headers are left: %v", r.Header)
			}
			return u, err
		}
		if u, err := try(); err != nil || u.Name != "bob" {
			t.Errorf("without headers: %+v, %v", u, err)
		}
		got, err := try("Impersonate-User", "eve", "Impersonate-Group", "dev", "Impersonate-Extra-Scopes", "a")
		want := authn.User{Name: "eve", Groups: []string{"dev", authn.Authenticated}, Extra: map[string][]string{"scopes": {"a"}}}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%v (-want +got)\n%s", err, d)
		}
		got, err = try("Impersonate-User", "system:serviceaccount:shop:web")
		if err != nil || !slices.Equal(got.Groups, []string{"system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"}) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err = try("Impersonate-User", "eve", "Impersonate-Group", "system:masters"); !apierrors.IsForbidden(err) ||
			err.Error() != `forbidden: User "bob" cannot impersonate-on:user-info:get path "/"` {
			t.Errorf("a group that bob may not take: %v", err)
		}
		if _, err = try("Impersonate-Group", "dev"); err == nil {
			t.Error("a group without a user was taken")
		}
	})
}

// A service account may act as the node that its pod runs on, for what it may do as that, and as no other.
func TestImpersonateWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		api.Put(&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, Rules: []rbac.PolicyRule{
			{Verbs: []string{"impersonate:associated-node"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"nodes"}},
			{Verbs: []string{"impersonate-on:associated-node:list"}, APIGroups: []string{""}, Resources: []string{"pods"}},
			{Verbs: []string{"impersonate:user-info"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"users", "groups"}},
			{Verbs: []string{"impersonate-on:user-info:get"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		}}, &rbac.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "imp"}, RoleRef: rbac.RoleRef{Kind: "ClusterRole", Name: "imp"},
			Subjects: []rbac.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "agent"}}})
		synctest.Wait()
		by := authn.AccountUser("shop", "agent", "u1")
		by.Extra = map[string][]string{associatedNodeKey: {"n1"}}
		for _, c := range []struct{ as, group, verb, want string }{
			{"system:node:n1", "", "list", ""},
			{"system:node:n1", "", "delete", `pods is forbidden: User "system:serviceaccount:shop:agent" cannot impersonate-on:associated-node:delete resource "pods" in API group "" at the cluster scope`},
			{"system:node:n2", "", "list", `pods is forbidden: User "system:serviceaccount:shop:agent" cannot impersonate-on:arbitrary-node:list resource "pods" in API group "" at the cluster scope`},
			{"eve", "dev", "get", ""},
			{"eve", authn.Masters, "get", `groups.authentication.k8s.io "system:masters" is forbidden: User "system:serviceaccount:shop:agent" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed`},
			{"system:serviceaccount:shop:web", "", "get", `pods is forbidden: User "system:serviceaccount:shop:agent" cannot impersonate-on:serviceaccount:get resource "pods" in API group "" at the cluster scope`},
		} {
			h := http.Header{"Impersonate-User": {c.as}}
			if c.group != "" {
				h["Impersonate-Group"] = []string{c.group}
			}
			u, err := Impersonate(t.Context(), h, Attributes{User: by, Verb: c.verb, Resource: "pods", ResourceRequest: true}, z)
			got := ""
			if err != nil {
				got = err.Error()
			} else if u.Name != c.as || !slices.Contains(u.Groups, authn.Authenticated) {
				t.Errorf("%s: became %+v", c.as, u)
			}
			if got != c.want {
				t.Errorf("%s of %s:\ngot  %s\nwant %s", c.verb, c.as, got, c.want)
			}
		}
	})
}

func TestBootstrap(t *testing.T) {
	rules, count := map[string]int{}, map[string]int{}
	for _, o := range Bootstrap() {
		count[object.KindOf(o).Kind]++
		if r, ok := o.(*rbac.ClusterRole); ok {
			rules[r.Name] = len(r.Rules)
			if len(r.Rules) == 0 && r.AggregationRule == nil {
				t.Errorf("%s permits nothing", r.Name)
			}
		}
	}
	if rules["admin"] <= rules["edit"] || rules["edit"] <= rules["view"] || rules["view"] == 0 {
		t.Errorf("admin has %d rules, edit %d, view %d", rules["admin"], rules["edit"], rules["view"])
	}
	if count["ClusterRole"] < 60 || count["ClusterRoleBinding"] < 45 || count["Role"] < 7 || count["RoleBinding"] < 7 {
		t.Errorf("objects: %v", count)
	}
	for _, bad := range []string{"  get core: pods", "clusterrole", "binding x", "clusterrole a\n  get pods", "what is this", "clusterrole a b=c", "binding a clusterrole:b robot:c"} {
		if _, err := parsePolicy(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestReconcileAddsButNeverTakes(t *testing.T) {
	ctx := t.Context()
	api := controltest.New(t)
	api.Serve(examples()...)
	mine := rbac.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"mine"}, Resources: []string{"x"}}
	api.Put(
		&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "system:basic-user"}, Rules: []rbac.PolicyRule{mine}},
		&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "system:discovery", Annotations: map[string]string{rbac.AutoUpdateAnnotationKey: "false"}}},
	)
	if err := Reconcile(ctx, api.Client()); err != nil {
		t.Fatal(err)
	}
	if n := len(api.Writes()); n < 120 {
		t.Errorf("%d writes", n)
	}
	if err := Reconcile(ctx, api.Client()); err != nil {
		t.Fatal(err)
	}
	if w := api.Writes(); len(w) != 0 {
		t.Errorf("the second run wrote %v", w)
	}
	r, err := client.Get[rbac.ClusterRole](ctx, api.Client(), object.Key{Name: "system:basic-user"})
	if err != nil || len(r.Rules) < 3 || r.Rules[0].APIGroups[0] != "mine" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := client.Get[rbac.ClusterRole](ctx, api.Client(), object.Key{Name: "system:discovery"}); err != nil || len(r.Rules) != 0 {
		t.Errorf("a role without autoupdate was changed: %+v, %v", r, err)
	}
}

func TestAggregator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, z := world(t)
		controltest.Run(t, func(ctx context.Context) error {
			return Aggregator{Client: api.Client(), View: api.View(), Log: slog.New(slog.DiscardHandler)}.Run(ctx)
		})
		api.Put(bind("shop", "view", "view", rbac.Subject{Kind: "User", Name: "eve"}),
			&rbac.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "crd-view", Labels: map[string]string{aggregateTo + "view": "true"}},
				Rules: []rbac.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"widgets"}}}})
		synctest.Wait()
		if d, err := z.Authorize(t.Context(), ask(user("eve"), "get example.com/widgets shop w")); err != nil || !d.Allowed {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	z := NewRBAC(nil)
	for _, o := range Bootstrap() {
		switch o := o.(type) {
		case *rbac.ClusterRole:
			z.setRole(object.KeyOf(o), o.Rules, false)
		case *rbac.ClusterRoleBinding:
			z.setBinding(object.KeyOf(o), o.RoleRef, o.Subjects, false)
		}
	}
	rb := bind("shop", "edit", "edit", rbac.Subject{Kind: "User", Name: "bob"}).(*rbac.RoleBinding)
	z.setBinding(object.KeyOf(rb), rb.RoleRef, rb.Subjects, false)
	close(z.synced)
	a := ask(user("bob"), "create apps/deployments shop -")
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := z.Authorize(b.Context(), a); !d.Allowed {
			b.Fatal("denied")
		}
	}
}
