package all

import (
	"proa.dev/kinds"
	"proa.dev/kinds/apps"
	"proa.dev/kinds/coordination"
	"proa.dev/kinds/core"
	"proa.dev/kinds/discovery"
	"proa.dev/kinds/rbac"
)

// Kinds is a new list of every built-in kind, group by group in the order of discovery.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		core.ConfigMap.Kind(),
		core.Endpoints.Kind(),
		core.Event.Kind(),
		core.Namespace.Kind(),
		core.Node.Kind(),
		core.Pod.Kind(),
		core.Secret.Kind(),
		core.Service.Kind(),
		core.ServiceAccount.Kind(),

		apps.Deployment.Kind(),
		apps.ReplicaSet.Kind(),

		rbac.ClusterRoleBinding.Kind(),
		rbac.ClusterRole.Kind(),
		rbac.RoleBinding.Kind(),
		rbac.Role.Kind(),

		coordination.Lease.Kind(),
		discovery.EndpointSlice.Kind(),
	}
}
