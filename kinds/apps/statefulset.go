package apps

import (
	"fmt"
	"time"

	apps "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"proa.dev/kinds"
	"proa.dev/kinds/core"
	"proa.dev/kinds/core/gated"
)

// StatefulSet is apps/v1 StatefulSet: numbered pods, each with a name and volumes of its own.
var StatefulSet = kinds.Def[apps.StatefulSet, *apps.StatefulSet]{
	Path:       "apps/v1/statefulsets",
	Short:      []string{"sts"},
	Categories: []string{"all"},
	Generation: true,
	Status:     true,
	Scale: &kinds.Scale[*apps.StatefulSet]{
		Get: func(s *apps.StatefulSet) kinds.ScaleInfo {
			return scaleInfo(s.Spec.Replicas, s.Status.Replicas, s.Spec.Selector)
		},
		Set: func(s *apps.StatefulSet, n int32) { s.Spec.Replicas = &n },
	},
	Default:        defaultStatefulSet,
	Name:           kinds.LabelName,
	Prepare:        prepareStatefulSet,
	ValidateCreate: validateNewStatefulSet, ValidateUpdate: validateStatefulSetUpdate,
	ValidateStatus: validateStatefulSetStatus,
	Warn:           warnStatefulSet,
	Columns: kinds.Columns("Name", "Ready|Number of the pod with ready state", "Age", "Containers+|Names of each container in the template.",
		"Images+|Images referenced by each container in the template."),
	Row: func(s *apps.StatefulSet, now time.Time) []any {
		names, images := core.NamesAndImages(s.Spec.Template.Spec.Containers)
		return []any{
			s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 0)), kinds.Age(s.CreationTimestamp, now),
			names, images,
		}
	},
}

func defaultStatefulSet(set *apps.StatefulSet) {
	s := &set.Spec
	orPtr(&s.Replicas, 1)
	orPtr(&s.RevisionHistoryLimit, 10)
	if s.PodManagementPolicy == "" {
		s.PodManagementPolicy = apps.OrderedReadyPodManagement
	}
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = apps.RollingUpdateStatefulSetStrategyType
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &apps.RollingUpdateStatefulSetStrategy{}
		}
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil {
		orPtr(&r.Partition, 0)
	}
	if s.PersistentVolumeClaimRetentionPolicy == nil {
		s.PersistentVolumeClaimRetentionPolicy = &apps.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	p := s.PersistentVolumeClaimRetentionPolicy
	if p.WhenDeleted == "" {
		p.WhenDeleted = apps.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if p.WhenScaled == "" {
		p.WhenScaled = apps.RetainPersistentVolumeClaimRetentionPolicyType
	}
	core.DefaultPodTemplate(&s.Template)
	for i := range s.VolumeClaimTemplates {
		c := &s.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		core.DefaultClaim(c)
	}
}

func prepareStatefulSet(set, old *apps.StatefulSet) {
	gated.Prepare(func(s *apps.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec })(set, old)
	dropMaxUnavailable(set, old)
}

// dropMaxUnavailable takes away what stands behind a feature that is off (KEP-961), unless the set has had it before.
func dropMaxUnavailable(set, old *apps.StatefulSet) {
	if old != nil && old.Spec.UpdateStrategy.RollingUpdate != nil && old.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil {
		return
	}
	if r := set.Spec.UpdateStrategy.RollingUpdate; r != nil {
		r.MaxUnavailable = nil
	}
}
