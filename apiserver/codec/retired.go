package codec

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// retired says whether a kind is known to Kubernetes in a version that it serves no more, or not by default.
func retired(gvk schema.GroupVersionKind) bool {
	known := retiredIn(gvk.GroupVersion().String())
	return slices.Contains(known, gvk.Kind) || slices.Contains(known, strings.TrimSuffix(gvk.Kind, "List"))
}

func retiredIn(version string) []string {
	switch version {
	case "admission.k8s.io/v1", "admission.k8s.io/v1beta1":
		return []string{"AdmissionReview"}
	case "admissionregistration.k8s.io/v1alpha1":
		return []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	case "admissionregistration.k8s.io/v1beta1":
		return []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
			"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
	case "apps/v1beta1":
		return []string{"ControllerRevision", "Deployment", "DeploymentRollback", "Scale", "StatefulSet"}
	case "apps/v1beta2":
		return []string{"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "Scale", "StatefulSet"}
	case "authentication.k8s.io/v1alpha1":
		return []string{"SelfSubjectReview"}
	case "authentication.k8s.io/v1beta1":
		return []string{"SelfSubjectReview", "TokenReview"}
	case "authorization.k8s.io/v1beta1":
		return []string{"LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"}
	case "batch/v1beta1":
		return []string{"CronJob"}
	case "certificates.k8s.io/v1alpha1":
		return []string{"ClusterTrustBundle"}
	case "certificates.k8s.io/v1beta1":
		return []string{"CertificateSigningRequest", "ClusterTrustBundle", "PodCertificateRequest"}
	case "coordination.k8s.io/v1alpha2":
		return []string{"LeaseCandidate"}
	case "coordination.k8s.io/v1beta1":
		return []string{"Lease", "LeaseCandidate"}
	case "discovery.k8s.io/v1beta1":
		return []string{"EndpointSlice"}
	case "events.k8s.io/v1beta1":
		return []string{"Event"}
	case "extensions/v1beta1":
		return []string{"DaemonSet", "Deployment", "DeploymentRollback", "Ingress", "NetworkPolicy", "ReplicaSet", "Scale"}
	case "flowcontrol.apiserver.k8s.io/v1beta1", "flowcontrol.apiserver.k8s.io/v1beta2", "flowcontrol.apiserver.k8s.io/v1beta3":
		return []string{"FlowSchema", "PriorityLevelConfiguration"}
	case "imagepolicy.k8s.io/v1alpha1":
		return []string{"ImageReview"}
	case "internal.apiserver.k8s.io/v1alpha1":
		return []string{"StorageVersion"}
	case "networking.k8s.io/v1beta1":
		return []string{"Ingress", "IngressClass", "IPAddress", "ServiceCIDR"}
	case "node.k8s.io/v1alpha1", "node.k8s.io/v1beta1":
		return []string{"RuntimeClass"}
	case "policy/v1beta1":
		return []string{"Eviction", "PodDisruptionBudget"}
	case "rbac.authorization.k8s.io/v1alpha1", "rbac.authorization.k8s.io/v1beta1":
		return []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
	case "resource.k8s.io/v1alpha3":
		return []string{"DeviceTaintRule", "ResourcePoolStatusRequest"}
	case "resource.k8s.io/v1beta1":
		return []string{"DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"}
	case "resource.k8s.io/v1beta2":
		return []string{"DeviceClass", "DeviceTaintRule", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"}
	case "scheduling.k8s.io/v1beta1":
		return []string{"PriorityClass"}
	case "storage.k8s.io/v1alpha1":
		return []string{"CSIStorageCapacity", "VolumeAttachment", "VolumeAttributesClass"}
	case "storage.k8s.io/v1beta1":
		return []string{"CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"}
	case "storagemigration.k8s.io/v1beta1":
		return []string{"StorageVersionMigration"}
	}
	return nil
}
