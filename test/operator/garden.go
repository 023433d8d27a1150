package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// version is what Garden belongs to.
var version = schema.GroupVersion{Group: "garden.example.org", Version: "v1"}

// Garden is some beds.
type Garden struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GardenSpec   `json:"spec,omitempty"`
	Status GardenStatus `json:"status,omitempty"`
}

// GardenSpec is what is wanted.
type GardenSpec struct {
	Beds int32 `json:"beds,omitempty"` // 1 to maxBeds; never fewer than before
}

// GardenStatus is what there is.
type GardenStatus struct {
	Planted int32 `json:"planted"`
}

// GardenList is many.
type GardenList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Garden `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (g *Garden) DeepCopyObject() runtime.Object {
	out := *g
	g.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *GardenList) DeepCopyObject() runtime.Object {
	out := *l
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]Garden, len(l.Items))
	for i := range l.Items {
		out.Items[i] = *l.Items[i].DeepCopyObject().(*Garden)
	}
	return &out
}

func addGarden(s *runtime.Scheme) error {
	s.AddKnownTypes(version, &Garden{}, &GardenList{})
	metav1.AddToGroupVersion(s, version)
	return nil
}
