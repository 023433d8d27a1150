// Package webhook reads an AuthorizationConfiguration of apiserver.config.k8s.io, which says who decides what users may do and in which
// order, and asks the webhooks that it names, by a SubjectAccessReview of authorization.k8s.io/v1.
//
//	apiVersion: apiserver.config.k8s.io/v1
//	kind: AuthorizationConfiguration
//	authorizers:
//	- type: Webhook
//	  name: policy.example.com
//	  webhook: {timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, failurePolicy: NoOpinion,
//	            authorizedTTL: 5m, unauthorizedTTL: 30s, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/policy.yaml},
//	            matchConditions: [{expression: "request.user != 'system:apiserver'"}]}
//	- {type: Node, name: node}
//	- {type: RBAC, name: rbac}
//
// It imports authn, authz, kinds/cel and kit. Read config.go, then webhook.go.
package webhook
