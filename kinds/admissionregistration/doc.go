// Package admissionregistration holds the kinds of admissionregistration.k8s.io: what is asked before a write is admitted. Expressions in
// them are compiled when they are written (kinds/cel); those that an object has already may use what newer servers know.
//
// It imports kinds, kinds/cel, kinds/check, object and k8s.io/api. Read validatingadmissionpolicy.go, then policy_validate.go; match.go
// and condition.go are what all kinds here have in common.
package admissionregistration
