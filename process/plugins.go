package process

import (
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/certificates"
	"proa.dev/apiserver/admission/ingressclass"
	"proa.dev/apiserver/admission/limitranger"
	"proa.dev/apiserver/admission/nodes"
	"proa.dev/apiserver/admission/podsecurity"
	"proa.dev/apiserver/admission/policy"
	"proa.dev/apiserver/admission/resourcequota"
	"proa.dev/apiserver/admission/volumes"
	"proa.dev/apiserver/admission/webhook"
	"proa.dev/config"
)

// plugins is the list of the parts of admission that stand in folders of their own. A new one is a folder and a line here; in which order
// they run stands in apiserver/admission/list.go.
func plugins(c *config.Config) ([]admission.Plugin, error) {
	pods, err := podsecurity.Configured(c.API.PodSecurity)
	if err != nil {
		return nil, err
	}
	return []admission.Plugin{
		certificates.New, limitranger.New, nodes.New, pods, volumes.New, webhook.New, ingressclass.New, policy.New, resourcequota.New,
	}, nil
}
