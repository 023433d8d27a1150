// Package rules says whether a request is one that a webhook or an admission policy wants to see: by operation, group, version,
// resource, subresource and scope, by the labels of its namespace and by its own.
//
// A rule that names another version than the request does matches all the same where matchPolicy is Equivalent. What is called then
// sees the object in the version that the rule names:
//
//	rule apps/v1 deployments, request PATCH autoscaling/v2 ...   no match
//	rule autoscaling/v1 hpa,  request PUT autoscaling/v2 hpa     Match{autoscaling/v1 hpa}
//
// It imports apiserver/admission, client, kinds and object. Read rules.go, then selectors.go.
package rules
