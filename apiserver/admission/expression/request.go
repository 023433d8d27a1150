package expression

import (
	review "k8s.io/api/admission/v1"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/rules"
	"proa.dev/apiserver/authn"
)

// Request is r as m sees it, without a uid and without its objects.
func Request(r *admission.Request, m rules.Match) *review.AdmissionRequest {
	kind, resource, dry := metav1.GroupVersionKind(r.Body), metav1.GroupVersionResource(r.Served.GroupVersionResource), r.DryRun
	return &review.AdmissionRequest{
		Kind: metav1.GroupVersionKind(m.Kind), Resource: metav1.GroupVersionResource(m.Resource), SubResource: r.Sub,
		RequestKind: &kind, RequestResource: &resource, RequestSubResource: r.Sub,
		Name: r.Name(), Namespace: r.Namespace(), Operation: review.Operation(r.Op), UserInfo: userInfo(r.User),
		DryRun: &dry, Options: runtime.RawExtension{Object: r.Options},
	}
}

func userInfo(u authn.User) authentication.UserInfo {
	info := authentication.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	for k, v := range u.Extra {
		if info.Extra == nil {
			info.Extra = make(map[string]authentication.ExtraValue, len(u.Extra))
		}
		info.Extra[k] = v
	}
	return info
}
