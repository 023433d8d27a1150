package apiextensions

import (
	"slices"
	"time"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/kinds"
)

// CustomResourceDefinition is apiextensions.k8s.io/v1 CustomResourceDefinition: a kind that users define.
var CustomResourceDefinition = kinds.Def[apiextensions.CustomResourceDefinition, *apiextensions.CustomResourceDefinition]{
	Path: "apiextensions.k8s.io/v1/customresourcedefinitions", Storage: "apiextensions.k8s.io/customresourcedefinitions",
	Cluster: true, Short: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
	Generation: true, Status: true, Versioned: true,
	Default:        apiextensions.SetObjectDefaults_CustomResourceDefinition,
	Prepare:        prepare,
	Grace:          hold,
	Name:           func(string, bool) []string { return nil }, // it follows from the names in the spec, and is checked with those
	ValidateCreate: validateCreate, ValidateUpdate: validateUpdate, ValidateStatus: validateStatus,
	Warn: warn,
	Columns: []kinds.Column{
		kinds.NameColumn,
		{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
	},
	Row: func(d *apiextensions.CustomResourceDefinition, _ time.Time) []any {
		return []any{d.Name, d.CreationTimestamp.UTC().Format(time.RFC3339)}
	},
}

// hold keeps a definition that is being deleted until its objects are gone.
func hold(d *apiextensions.CustomResourceDefinition, _ *metav1.DeleteOptions) int64 {
	if !slices.Contains(d.Finalizers, apiextensions.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensions.CustomResourceCleanupFinalizer)
	}
	Set(d, apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.Terminating, Status: apiextensions.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}, time.Now())
	return 0
}

// prepare notes in which versions objects may be stored: the one that is stored now, and all that were before.
func prepare(d, old *apiextensions.CustomResourceDefinition) {
	for _, v := range d.Spec.Versions {
		if !v.Storage {
			continue
		}
		if !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(slices.Clone(d.Status.StoredVersions), v.Name)
		}
		return // there is one only, or validation fails
	}
}

// True says whether a condition of d holds.
func True(d *apiextensions.CustomResourceDefinition, c apiextensions.CustomResourceDefinitionConditionType) bool {
	have := Find(d, c)
	return have != nil && have.Status == apiextensions.ConditionTrue
}

// Find is a condition of d; nil if it has none of that type.
func Find(d *apiextensions.CustomResourceDefinition, c apiextensions.CustomResourceDefinitionConditionType) *apiextensions.CustomResourceDefinitionCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == c {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

// Set gives d a condition. Its time stays where the status stays.
func Set(d *apiextensions.CustomResourceDefinition, c apiextensions.CustomResourceDefinitionCondition, now time.Time) {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	have := Find(d, c.Type)
	if have == nil {
		d.Status.Conditions = append(d.Status.Conditions, c)
		return
	}
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	*have = c
}
