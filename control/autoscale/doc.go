// Package autoscale sets how many replicas there are by what is measured, for everything with a scale subresource: it is the controller of
// HorizontalPodAutoscalers (autoscaling/v2).
//
//	desired = ceil(current * measured / target), the most of all metrics, unless measured/target is within the tolerance (0.1)
//
// Each autoscaler has a round when its spec changes, and then every 15 s. A round reads the Scale, asks Metrics if a number has to be
// worked out, decides (pure: round.go, by the numbers of replicas.go, held back by behavior.go), writes the Scale and the status. Pods
// without a figure, and pods that only begin, count as if they used nothing when more replicas were the answer, and as if they used
// all when fewer were. What was wished and done lately is kept in memory: a new leader begins with what it finds.
//
// While there is no autoscaler nothing runs. The folder imports control, client and object. Read round.go, then controller.go.
package autoscale
