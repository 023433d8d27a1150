// Package policy is admission by policies that are objects themselves: MutatingAdmissionPolicy changes what is written, and
// ValidatingAdmissionPolicy refuses it, warns of it or notes it for the audit log (KEP-3488, KEP-3962). A policy has an effect where a
// binding says so, once for each of the parameters that the binding names:
//
//	policy "replicas", paramKind v1 ConfigMap        object.spec.replicas <= int(params.data.max)
//	binding "team-a" of it, paramRef name "limits"   in the namespaces that it selects
//
// The policies that there are stand in an index that is made anew when one of them changes; expressions are compiled when a request
// first matches, once for each generation of a policy. Without policies a request pays for one look at an empty index.
//
// It imports apiserver/admission, admission/rules, cel, audit and authz, client, kinds and object. Read plugin.go, then index.go,
// validate.go and mutate.go.
package policy
