package all

import (
	"proa.dev/kinds"
	"proa.dev/kinds/admissionregistration"
	"proa.dev/kinds/apiextensions"
	"proa.dev/kinds/apiregistration"
	"proa.dev/kinds/apps"
	"proa.dev/kinds/authentication"
	"proa.dev/kinds/authorization"
	"proa.dev/kinds/autoscaling"
	"proa.dev/kinds/batch"
	"proa.dev/kinds/certificates"
	"proa.dev/kinds/coordination"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/limits"
	"proa.dev/kinds/discovery"
	"proa.dev/kinds/flowcontrol"
	"proa.dev/kinds/networking"
	"proa.dev/kinds/node"
	"proa.dev/kinds/policy"
	"proa.dev/kinds/rbac"
	"proa.dev/kinds/resource"
	"proa.dev/kinds/scheduling"
	"proa.dev/kinds/storage"
)

// Kinds is a new list of every built-in kind, in the order in which discovery shows the groups.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		core.Binding.Kind(),
		core.ComponentStatus.Kind(),
		core.ConfigMap.Kind(),
		core.Endpoints.Kind(),
		core.Event.Kind(),
		limits.LimitRange.Kind(),
		core.Namespace.Kind(),
		core.Node.Kind(),
		core.PersistentVolumeClaim.Kind(),
		core.PersistentVolume.Kind(),
		core.Pod.Kind(),
		core.PodTemplate.Kind(),
		core.ReplicationController.Kind(),
		limits.ResourceQuota.Kind(),
		core.Secret.Kind(),
		core.ServiceAccount.Kind(),
		core.Service.Kind(),

		admissionregistration.MutatingAdmissionPolicy.Kind(),
		admissionregistration.MutatingAdmissionPolicyBinding.Kind(),
		admissionregistration.MutatingWebhookConfiguration.Kind(),
		admissionregistration.ValidatingAdmissionPolicy.Kind(),
		admissionregistration.ValidatingAdmissionPolicyBinding.Kind(),
		admissionregistration.ValidatingWebhookConfiguration.Kind(),

		apiregistration.APIService.Kind(),

		authentication.SelfSubjectReview.Kind(),
		authentication.TokenReview.Kind(),

		authorization.LocalSubjectAccessReview.Kind(),
		authorization.SelfSubjectAccessReview.Kind(),
		authorization.SelfSubjectRulesReview.Kind(),
		authorization.SubjectAccessReview.Kind(),

		autoscaling.HorizontalPodAutoscaler.Kind(),

		batch.CronJob.Kind(),
		batch.Job.Kind(),

		certificates.CertificateSigningRequest.Kind(),
		certificates.ClusterTrustBundle.Kind(),
		certificates.PodCertificateRequest.Kind(),

		coordination.Lease.Kind(),

		discovery.EndpointSlice.Kind(),

		flowcontrol.FlowSchema.Kind(),
		flowcontrol.PriorityLevelConfiguration.Kind(),

		networking.IngressClass.Kind(),
		networking.Ingress.Kind(),
		networking.IPAddress.Kind(),
		networking.NetworkPolicy.Kind(),
		networking.ServiceCIDR.Kind(),

		node.RuntimeClass.Kind(),

		policy.PodDisruptionBudget.Kind(),

		rbac.ClusterRoleBinding.Kind(),
		rbac.ClusterRole.Kind(),
		rbac.RoleBinding.Kind(),
		rbac.Role.Kind(),

		resource.DeviceClass.Kind(),
		resource.DeviceTaintRule.Kind(),
		resource.ResourceClaim.Kind(),
		resource.ResourceClaimTemplate.Kind(),
		resource.ResourceSlice.Kind(),

		scheduling.PriorityClass.Kind(),

		storage.CSIDriver.Kind(),
		storage.CSINode.Kind(),
		storage.CSIStorageCapacity.Kind(),
		storage.StorageClass.Kind(),
		storage.VolumeAttachment.Kind(),
		storage.VolumeAttributesClass.Kind(),

		apiextensions.CustomResourceDefinition.Kind(),

		apps.ControllerRevision.Kind(),
		apps.DaemonSet.Kind(),
		apps.Deployment.Kind(),
		apps.ReplicaSet.Kind(),
		apps.StatefulSet.Kind(),
	}
}
