package process

import (
	"proa.dev/apiserver/admission"
	"proa.dev/apiserver/admission/limitranger"
	"proa.dev/apiserver/admission/resourcequota"
)

// plugins is the list of the parts of admission that stand in folders of their own. A new one is a folder and a line here; in which order
// they run stands in apiserver/admission/list.go.
func plugins() []admission.Plugin {
	return []admission.Plugin{limitranger.New, resourcequota.New}
}
