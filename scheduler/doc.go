// Package scheduler finds a node for every pod that has none, and binds it there.
//
// One goroutine owns all state and takes one step at a time: it applies what the View told (nodes, pods), takes the most urgent
// pod from the queue, picks a node, counts the pod in there at once, and hands the binding to workers that do the API calls
// while it goes on. Many bindings are under way together, so the store can write them together.
//
// What makes it fast is that pods come in classes: the pods of one Deployment differ in name only. For each class the scheduler
// keeps, per node, the verdict of the filters and a score, and looks again only at nodes that have changed since: usually the
// one that the previous pod went to. What depends on more than one node (spreading over zones, affinity between pods) is judged
// per group of nodes that share the topology values concerned, of which there are few. So a pod costs microseconds, all nodes are
// considered, and nothing is sampled.
//
//	cluster.go   nodes and the pods on them, kept up to date by events; the log of changed nodes
//	class.go     class -> cell per node -> groups with a heap each -> the best node
//	filter*.go   one file per filter, each with its reasons; score.go what is preferred
//	spread.go affinity.go  what looks at other pods
//	devices/     the devices that pods claim
//	queue.go     active, back-off, unschedulable
//	loop.go bind.go explain.go preempt.go
//
// Imports object, client, client/record and kinds' types. Read loop.go, then class.go.
package scheduler
