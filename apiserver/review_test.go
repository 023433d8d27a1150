package apiserver_test

import (
	"strings"
	"testing"

	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"

	"proa.dev/apiserver/apitest"
)

// What is never stored says who has written it all the same.
func TestReviewsHaveManagers(t *testing.T) {
	s := apitest.Start(t)
	var r authorization.SubjectAccessReview
	mustCall(t, s, 201, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews?fieldManager=one", "", `{"spec":{"user":"joe","nonResourceAttributes":{"path":"/x","verb":"get"}}}`, &r)
	if len(r.ManagedFields) != 1 || r.ManagedFields[0].Manager != "one" || !strings.Contains(r.ManagedFields[0].FieldsV1.GetRawString(), `"f:user":{}`) {
		t.Errorf("managed fields of a review: %v", r.ManagedFields)
	}
}

// A page tells how many objects are left where no selector is asked about them.
func TestPagesOfANamespaceBySelector(t *testing.T) {
	s := apitest.Start(t)
	for _, name := range []string{"a", "b", "c"} {
		mustCall(t, s, 201, "POST", cms, "", newConfigMap(name, ""), nil)
	}
	for query, want := range map[string]bool{"": true, "&fieldSelector=metadata.namespace%3Ddefault": false} {
		var l core.ConfigMapList
		mustCall(t, s, 200, "GET", cms+"?limit=1"+query, "", nil, &l)
		if l.Continue == "" || (l.RemainingItemCount != nil) != want {
			t.Errorf("%q: continue %q, remaining %v, want one: %v", query, l.Continue, l.RemainingItemCount, want)
		}
	}
}
