package codec

import (
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"proa.dev/kinds"
	"proa.dev/object"
)

// TableOptions say how much of each object goes into a table.
type TableOptions struct {
	Include   metav1.IncludeObjectPolicy // "" is Metadata
	NoHeaders bool                       // leave out the columns
	Version   string                     // of meta.k8s.io
}

// CheckTableOptions reads includeObject. The error is a 400.
func CheckTableOptions(include string) (metav1.IncludeObjectPolicy, error) {
	switch p := metav1.IncludeObjectPolicy(include); p {
	case "", metav1.IncludeMetadata, metav1.IncludeNone, metav1.IncludeObject:
		return p, nil
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("Unable to convert to Table as requested: includeObject: Invalid value: %q: must be 'Metadata', 'Object', 'None', or empty", include))
}

// MakeTable is the table of objects of kind k that kubectl get prints.
func MakeTable(k *kinds.Kind, items []object.Object, meta metav1.ListMeta, opt TableOptions, now time.Time) *metav1.Table {
	t := &metav1.Table{ListMeta: meta, Rows: make([]metav1.TableRow, len(items))}
	t.SetGroupVersionKind(schema.GroupVersionKind{Group: metav1.GroupName, Version: opt.Version, Kind: "Table"})
	if !opt.NoHeaders {
		t.ColumnDefinitions = k.Columns
	}
	for i, o := range items {
		t.Rows[i].Cells = k.Row(o, now)
		if p, ok := o.(*core.Pod); ok {
			t.Rows[i].Conditions = ended(p)
		}
		switch opt.Include {
		case metav1.IncludeNone:
		case metav1.IncludeObject:
			t.Rows[i].Object.Object = o
		default:
			t.Rows[i].Object.Object = PartialOf(o, opt.Version)
		}
	}
	return t
}

// ended tells clients which rows they may leave out: pods that have run to their end.
func ended(p *core.Pod) []metav1.TableRowCondition {
	done := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(p.Status.Phase)}
	switch p.Status.Phase {
	case core.PodSucceeded:
		done.Message = "The pod has completed successfully."
	case core.PodFailed:
		done.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{done}
}

// PartialOf is the metadata of o alone.
func PartialOf(o metav1.Object, version string) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{ObjectMeta: metaOf(o)}
	p.SetGroupVersionKind(schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: "PartialObjectMetadata"})
	return p
}

// PartialList is the metadata of many objects.
func PartialList(items []object.Object, meta metav1.ListMeta, version string) runtime.Object {
	l := &metav1.PartialObjectMetadataList{ListMeta: meta, Items: emptyAsNull(items)}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: "PartialObjectMetadataList"})
	for i, o := range items {
		l.Items[i].ObjectMeta = metaOf(o)
		l.Items[i].SetGroupVersionKind(schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: "PartialObjectMetadata"})
	}
	return l
}

// emptyAsNull is room for the items. An empty list of this kind has null for them, in Kubernetes.
func emptyAsNull(items []object.Object) []metav1.PartialObjectMetadata {
	if len(items) == 0 {
		return nil
	}
	return make([]metav1.PartialObjectMetadata, len(items))
}

func metaOf(o metav1.Object) metav1.ObjectMeta {
	if a, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return *m
		}
	}
	return metav1.ObjectMeta{
		Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration(), CreationTimestamp: o.GetCreationTimestamp(),
		DeletionTimestamp: o.GetDeletionTimestamp(), DeletionGracePeriodSeconds: o.GetDeletionGracePeriodSeconds(),
		Labels: o.GetLabels(), Annotations: o.GetAnnotations(), OwnerReferences: o.GetOwnerReferences(),
		Finalizers: o.GetFinalizers(), ManagedFields: o.GetManagedFields(),
	}
}
