// Package podcidr gives every node its part of the pod ranges, a /24 (or /120) of each family, in spec.podCIDRs. A node keeps its part
// for as long as its object lives; that of a deleted node may be given again. The machine that runs the server has the first part for
// ever, since its network stands before there is an API to ask.
//
// It imports control. Read plan.go.
package podcidr
