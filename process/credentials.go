package process

import (
	"context"

	core "k8s.io/api/core/v1"

	"proa.dev/client"
	"proa.dev/kubelet/credential"
	"proa.dev/kubelet/pod"
	"proa.dev/kubelet/source"
	"proa.dev/object"
)

// credentials are the plugins that are asked for the credentials of images; nil where none are configured.
func (n *node) credentials() (pod.Credentials, error) {
	c := n.deps.config.Kubelet
	if c.ImageCredentialProviderConfig == "" {
		return nil, nil
	}
	objects := &source.Objects{View: n.deps.view, Client: n.deps.client}
	return credential.New(credential.Deps{
		Config: c.ImageCredentialProviderConfig, Programs: c.ImageCredentialProviderBinDir,
		Account: func(ctx context.Context, namespace, name string) (*core.ServiceAccount, error) {
			return client.Get[core.ServiceAccount](ctx, n.deps.client, object.Key{Namespace: namespace, Name: name})
		},
		Token: objects.Token, Log: n.deps.log,
	})
}
