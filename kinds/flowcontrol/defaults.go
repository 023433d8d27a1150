package flowcontrol

import (
	coordination "k8s.io/api/coordination/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Names that mean something to the API server, of a schema and of a level each.
const (
	Exempt   = flowcontrol.FlowSchemaNameExempt
	CatchAll = flowcontrol.FlowSchemaNameCatchAll
)

// MandatoryLevels are the levels without which nothing works. The caller owns them.
func MandatoryLevels() []*flowcontrol.PriorityLevelConfiguration {
	exempt := &flowcontrol.PriorityLevelConfiguration{ObjectMeta: meta(Exempt)}
	exempt.Spec = flowcontrol.PriorityLevelConfigurationSpec{
		Type:   flowcontrol.PriorityLevelEnablementExempt,
		Exempt: &flowcontrol.ExemptPriorityLevelConfiguration{NominalConcurrencyShares: ptr.To[int32](0), LendablePercent: ptr.To[int32](0)},
	}
	catchAll := level(CatchAll, 5, 0, 0, 0)
	catchAll.Spec.Limited.LimitResponse = flowcontrol.LimitResponse{Type: flowcontrol.LimitResponseTypeReject}
	return []*flowcontrol.PriorityLevelConfiguration{catchAll, exempt}
}

// SuggestedLevels are the levels that a cluster begins with, and that its owner may change. The caller owns them.
func SuggestedLevels() []*flowcontrol.PriorityLevelConfiguration {
	return []*flowcontrol.PriorityLevelConfiguration{
		level("system", 30, 33, 64, 6),
		level("node-high", 40, 25, 64, 6),
		level("leader-election", 10, 0, 16, 4),
		level("workload-high", 40, 50, 128, 6),
		level("workload-low", 100, 90, 128, 6),
		level("global-default", 20, 50, 128, 6),
	}
}

// MandatorySchemas are the schemas without which nothing works. The caller owns them.
func MandatorySchemas() []*flowcontrol.FlowSchema {
	return []*flowcontrol.FlowSchema{
		schema(Exempt, Exempt, 1, "", everything(groups("system:masters"))),
		schema(CatchAll, CatchAll, flowcontrol.FlowSchemaMaxMatchingPrecedence, byUser, everything(everybody())),
	}
}

// SuggestedSchemas are the schemas that a cluster begins with, and that its owner may change. The caller owns them.
func SuggestedSchemas() []*flowcontrol.FlowSchema {
	const manager, scheduler = "system:kube-controller-manager", "system:kube-scheduler"
	probes := rule(everybody())
	probes.NonResourceRules = []flowcontrol.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/readyz", "/livez"}}}
	electing := rule(append(users(manager, scheduler), accountsOfSystem()...))
	electing.ResourceRules = []flowcontrol.ResourcePolicyRule{resources([]string{"get", "create", "update"}, coordination.GroupName, false, "leases")}
	nodes := rule(groups("system:nodes"))
	nodes.ResourceRules = []flowcontrol.ResourcePolicyRule{
		resources([]string{"*"}, "", true, "nodes", "nodes/status"),
		resources([]string{"*"}, coordination.GroupName, false, "leases"),
	}
	return []*flowcontrol.FlowSchema{
		schema("system-nodes", "system", 500, byUser, everything(groups("system:nodes"))),
		schema("system-node-high", "node-high", 400, byUser, nodes),
		schema("probes", Exempt, 2, "", probes),
		schema("system-leader-election", "leader-election", 100, byUser, electing),
		schema("kube-controller-manager", "workload-high", 800, byNamespace, everything(users(manager))),
		schema("kube-scheduler", "workload-high", 800, byNamespace, everything(users(scheduler))),
		schema("kube-system-service-accounts", "workload-high", 900, byNamespace, everything(accountsOfSystem())),
		schema("service-accounts", "workload-low", 9000, byUser, everything(groups("system:serviceaccounts"))),
		schema("global-default", "global-default", 9900, byUser, everything(everybody())),
	}
}

const (
	byUser      = flowcontrol.FlowDistinguisherMethodByUserType
	byNamespace = flowcontrol.FlowDistinguisherMethodByNamespaceType
)

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrol.AutoUpdateAnnotationKey: "true"}}
}

func level(name string, shares, lendable, queues, hand int32) *flowcontrol.PriorityLevelConfiguration {
	l := &flowcontrol.PriorityLevelConfiguration{ObjectMeta: meta(name)}
	l.Spec.Type = flowcontrol.PriorityLevelEnablementLimited
	l.Spec.Limited = &flowcontrol.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares, LendablePercent: &lendable}
	l.Spec.Limited.LimitResponse = flowcontrol.LimitResponse{Type: flowcontrol.LimitResponseTypeQueue,
		Queuing: &flowcontrol.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: 50}}
	return l
}

func schema(name, level string, precedence int32, by flowcontrol.FlowDistinguisherMethodType, r flowcontrol.PolicyRulesWithSubjects) *flowcontrol.FlowSchema {
	s := &flowcontrol.FlowSchema{ObjectMeta: meta(name)}
	s.Spec.PriorityLevelConfiguration.Name, s.Spec.MatchingPrecedence = level, precedence
	s.Spec.Rules = []flowcontrol.PolicyRulesWithSubjects{r}
	if by != "" {
		s.Spec.DistinguisherMethod = &flowcontrol.FlowDistinguisherMethod{Type: by}
	}
	return s
}

func rule(subjects []flowcontrol.Subject) flowcontrol.PolicyRulesWithSubjects {
	return flowcontrol.PolicyRulesWithSubjects{Subjects: subjects}
}

// everything is a rule for all that these subjects may ask for.
func everything(subjects []flowcontrol.Subject) flowcontrol.PolicyRulesWithSubjects {
	r := rule(subjects)
	r.ResourceRules = []flowcontrol.ResourcePolicyRule{resources([]string{"*"}, "*", true, "*")}
	r.NonResourceRules = []flowcontrol.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}
	return r
}

func resources(verbs []string, group string, cluster bool, names ...string) flowcontrol.ResourcePolicyRule {
	return flowcontrol.ResourcePolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: names, Namespaces: []string{"*"}, ClusterScope: cluster}
}

func everybody() []flowcontrol.Subject {
	return groups("system:unauthenticated", "system:authenticated")
}

func groups(names ...string) (out []flowcontrol.Subject) {
	for _, n := range names {
		out = append(out, flowcontrol.Subject{Kind: flowcontrol.SubjectKindGroup, Group: &flowcontrol.GroupSubject{Name: n}})
	}
	return out
}

func users(names ...string) (out []flowcontrol.Subject) {
	for _, n := range names {
		out = append(out, flowcontrol.Subject{Kind: flowcontrol.SubjectKindUser, User: &flowcontrol.UserSubject{Name: n}})
	}
	return out
}

func accountsOfSystem() []flowcontrol.Subject {
	return []flowcontrol.Subject{{Kind: flowcontrol.SubjectKindServiceAccount,
		ServiceAccount: &flowcontrol.ServiceAccountSubject{Name: flowcontrol.NameAll, Namespace: metav1.NamespaceSystem}}}
}
