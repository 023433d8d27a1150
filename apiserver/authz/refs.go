package authz

import (
	core "k8s.io/api/core/v1"

	"proa.dev/object"
)

// refs are the names of the objects of a resource that a pod refers to.
func refs(pod *core.Pod, resource string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		ok := true
		say := func(kind, name string) {
			if ok && kind == resource && name != "" {
				ok = yield(name)
			}
		}
		say("serviceaccounts", pod.Spec.ServiceAccountName)
		for _, s := range pod.Spec.ImagePullSecrets {
			say("secrets", s.Name)
		}
		for i := range pod.Spec.Volumes {
			volumeRefs(pod, &pod.Spec.Volumes[i], say)
		}
		for _, c := range pod.Spec.InitContainers {
			envRefs(c.Env, c.EnvFrom, say)
		}
		for _, c := range pod.Spec.Containers {
			envRefs(c.Env, c.EnvFrom, say)
		}
		for _, c := range pod.Spec.EphemeralContainers {
			envRefs(c.Env, c.EnvFrom, say)
		}
		deviceRefs(pod, say)
	}
}

func envRefs(env []core.EnvVar, from []core.EnvFromSource, say func(kind, name string)) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			say("secrets", r.Name)
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			say("configmaps", r.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			say("secrets", f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			say("configmaps", f.ConfigMapRef.Name)
		}
	}
}

func volumeRefs(pod *core.Pod, v *core.Volume, say func(kind, name string)) {
	local := func(r *core.LocalObjectReference) {
		if r != nil {
			say("secrets", r.Name)
		}
	}
	switch {
	case v.Secret != nil:
		say("secrets", v.Secret.SecretName)
	case v.ConfigMap != nil:
		say("configmaps", v.ConfigMap.Name)
	case v.PersistentVolumeClaim != nil:
		say("persistentvolumeclaims", v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		say("persistentvolumeclaims", pod.Name+"-"+v.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				say("secrets", s.Secret.Name)
			}
			if s.ConfigMap != nil {
				say("configmaps", s.ConfigMap.Name)
			}
		}
	case v.CSI != nil:
		local(v.CSI.NodePublishSecretRef)
	case v.AzureFile != nil:
		say("secrets", v.AzureFile.SecretName)
	case v.CephFS != nil:
		local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		local(v.FlexVolume.SecretRef)
	case v.RBD != nil:
		local(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		local(v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		local(v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		local(v.StorageOS.SecretRef)
	}
}

// deviceRefs tells the resource claims of a pod: those it names, and those that were made for it.
func deviceRefs(pod *core.Pod, say func(kind, name string)) {
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			say("resourceclaims", *c.ResourceClaimName)
			continue
		}
		for _, st := range pod.Status.ResourceClaimStatuses {
			if st.Name == c.Name && st.ResourceClaimName != nil {
				say("resourceclaims", *st.ResourceClaimName)
			}
		}
	}
	if st := pod.Status.ExtendedResourceClaimStatus; st != nil {
		say("resourceclaims", st.ResourceClaimName)
	}
}

// volumeSecrets are the secrets that a node needs to mount a volume.
func volumeSecrets(pv *core.PersistentVolume) (keys []object.Key) {
	home := ""
	if pv.Spec.ClaimRef != nil {
		home = pv.Spec.ClaimRef.Namespace
	}
	add := func(r *core.SecretReference) {
		if r == nil || r.Name == "" {
			return
		}
		k := object.Key{Namespace: r.Namespace, Name: r.Name}
		if k.Namespace == "" {
			k.Namespace = home
		}
		keys = append(keys, k)
	}
	switch s := &pv.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		k := object.Key{Namespace: home, Name: s.AzureFile.SecretName}
		if s.AzureFile.SecretNamespace != nil && *s.AzureFile.SecretNamespace != "" {
			k.Namespace = *s.AzureFile.SecretNamespace
		}
		keys = append(keys, k)
	case s.CephFS != nil:
		add(s.CephFS.SecretRef)
	case s.Cinder != nil:
		add(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		add(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		add(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		add(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		add(s.ISCSI.SecretRef)
	case s.CSI != nil:
		add(s.CSI.NodePublishSecretRef)
		add(s.CSI.NodeStageSecretRef)
		add(s.CSI.NodeExpandSecretRef)
	}
	return keys
}

// Refers says by which resource a pod refers to objects of the API first; "" if it refers to none.
func Refers(pod *core.Pod) string {
	for _, kind := range []string{"serviceaccounts", "secrets", "configmaps"} {
		for range refs(pod, kind) {
			return kind
		}
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		return "resourceclaims"
	}
	for i := range pod.Spec.Volumes {
		if what := volumeRefers(&pod.Spec.Volumes[i]); what != "" {
			return what
		}
	}
	return ""
}

func volumeRefers(v *core.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)"
	case v.Secret != nil:
		return "secrets (via secret volumes)"
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)"
	case v.Projected == nil:
		return ""
	}
	for _, p := range v.Projected.Sources {
		switch {
		case p.ConfigMap != nil:
			return "configmaps (via projected volumes)"
		case p.Secret != nil:
			return "secrets (via projected volumes)"
		case p.ServiceAccountToken != nil:
			return "serviceaccounts (via projected volumes)"
		case p.ClusterTrustBundle != nil:
			return "clustertrustbundles"
		case p.PodCertificate != nil:
			return "podcertificates"
		}
	}
	return ""
}
