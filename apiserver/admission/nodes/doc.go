// Package nodes is admission of nodes, and of pods by the node that they are on: a new node is tainted until it is ready
// (TaintNodesByCondition), a pod gets the zone and region of its node as labels (PodTopologyLabels), and a pod cannot be resized beyond
// its node (PodResizeValidator). It imports apiserver/admission and client. Read nodes.go.
package nodes
