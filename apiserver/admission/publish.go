package admission

import (
	"context"
	"maps"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
)

// publishCAs tells extension API servers how to know clients and the API server as their front proxy, in the ConfigMap where they
// look for it.
func (s *Start) publishCAs(ctx context.Context, c client.Client) error {
	if len(s.deps.ClientCA) == 0 {
		return nil
	}
	data := map[string]string{"client-ca-file": string(s.deps.ClientCA)}
	if len(s.deps.FrontProxyCA) > 0 {
		data["requestheader-client-ca-file"] = string(s.deps.FrontProxyCA)
		data["requestheader-allowed-names"] = `["front-proxy-client"]`
		data["requestheader-username-headers"] = `["X-Remote-User"]`
		data["requestheader-uid-headers"] = `["X-Remote-Uid"]`
		data["requestheader-group-headers"] = `["X-Remote-Group"]`
		data["requestheader-extra-headers-prefix"] = `["X-Remote-Extra-"]`
	}
	return place(ctx, c, &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "extension-apiserver-authentication"}, Data: data},
		func(old, now *core.ConfigMap) bool { return maps.Equal(old.Data, now.Data) })
}
