// Package policystatus tells authors of ValidatingAdmissionPolicies what their expressions get wrong about the types that the policy is
// about: a field that there is not, a number compared with a string. It writes status.typeChecking, and status.observedGeneration.
//
// Types are known of built-in kinds. It imports client, control, kinds/cel and object. Read controller.go, then check.go.
package policystatus
