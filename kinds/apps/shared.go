package apps

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
)

func orPtr[T any](p **T, v T) {
	if *p == nil {
		*p = ptr.To(v)
	}
}

func scaleInfo(spec *int32, status int32, selector *metav1.LabelSelector) kinds.ScaleInfo {
	info := kinds.ScaleInfo{Spec: ptr.Deref(spec, 0), Status: status}
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil { // validated when it was stored
		info.Selector = s.String()
	}
	return info
}

func formatSelector(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }
