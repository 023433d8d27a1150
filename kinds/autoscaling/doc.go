// Package autoscaling holds the kinds of autoscaling. HorizontalPodAutoscalers are stored as v2 and served as v1, too; what v1 has no
// field for stands in annotations there. It imports kinds, kinds/check and kinds/core/resources. Read horizontalpodautoscaler.go.
package autoscaling
