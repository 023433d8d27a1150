package ownergc

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/control"
	"proa.dev/object"
)

// ownerState is what became of an owner.
type ownerState int

const (
	solid   ownerState = iota // there, and not waiting for dependents
	absent                    // gone, or never was
	waiting                   // there, being deleted in the foreground
)

// owner is one owner reference and what became of the owner.
type owner struct {
	metav1.OwnerReference
	state ownerState
}

func has(o object.Object, finalizer string) bool {
	return slices.Contains(o.GetFinalizers(), finalizer)
}

// foreground says whether o waits for its dependents to be deleted.
func foreground(o object.Object) bool {
	return o.GetDeletionTimestamp() != nil && has(o, metav1.FinalizerDeleteDependents)
}

// orphaning says whether o waits for its dependents to be let go.
func orphaning(o object.Object) bool {
	return o.GetDeletionTimestamp() != nil && has(o, metav1.FinalizerOrphanDependents)
}

// planItem says what to do with an object that is not being deleted itself, or only in the background. dependents are its own.
func planItem(o object.Object, owners []owner, dependents []object.Object) []control.Change {
	if o.GetDeletionTimestamp() != nil || len(owners) == 0 {
		return nil
	}
	count := map[ownerState]int{}
	for _, w := range owners {
		count[w.state]++
	}
	switch {
	case count[solid] == len(owners):
		return nil
	case count[solid] > 0:
		// It stays for its solid owners. Those that wait for it are let go, else they would wait forever.
		return []control.Change{disown(o, func(ref metav1.OwnerReference) bool {
			return slices.ContainsFunc(owners, func(w owner) bool { return w.UID == ref.UID && w.state != solid })
		})}
	case count[waiting] > 0 && len(dependents) > 0:
		var changes []control.Change
		if slices.ContainsFunc(dependents, foreground) {
			changes = append(changes, unblock(o)) // maybe a cycle: nobody is to wait for o
		}
		return append(changes, remove(o, metav1.DeletePropagationForeground))
	case has(o, metav1.FinalizerOrphanDependents):
		return []control.Change{remove(o, metav1.DeletePropagationOrphan)}
	case has(o, metav1.FinalizerDeleteDependents):
		return []control.Change{remove(o, metav1.DeletePropagationForeground)}
	}
	return []control.Change{remove(o, metav1.DeletePropagationBackground)}
}

// planForeground says what an owner that is being deleted in the foreground waits for: the dependents that block it. With none left it is
// let go.
func planForeground(o object.Object, dependents []object.Object) []control.Change {
	for _, d := range dependents {
		for _, ref := range d.GetOwnerReferences() {
			if ref.UID == o.GetUID() && control.Or(ref.BlockOwnerDeletion, false) {
				return nil
			}
		}
	}
	return []control.Change{unfinalize(o, metav1.FinalizerDeleteDependents)}
}

// planOrphan lets the dependents of o go, and then o.
func planOrphan(o object.Object, dependents []object.Object) []control.Change {
	var changes []control.Change
	for _, d := range dependents {
		ch := disown(d, func(ref metav1.OwnerReference) bool { return ref.UID == o.GetUID() })
		ch.Unordered = true // but before the last change
		changes = append(changes, ch)
	}
	return append(changes, unfinalize(o, metav1.FinalizerOrphanDependents))
}

func remove(o object.Object, p metav1.DeletionPropagation) control.Change {
	return control.Change{Op: control.Delete, Object: o, Propagation: &p}
}

// The patches below name uid and resourceVersion: a merge patch replaces whole lists.

type metaPatch struct {
	UID             types.UID                `json:"uid"`
	ResourceVersion string                   `json:"resourceVersion"`
	OwnerReferences *[]metav1.OwnerReference `json:"ownerReferences,omitempty"`
	Finalizers      *[]string                `json:"finalizers,omitempty"`
}

func patch(o object.Object, m metaPatch) control.Change {
	m.UID, m.ResourceVersion = o.GetUID(), o.GetResourceVersion()
	return control.Change{Op: control.Patch, Object: o, Patch: control.MergePatch(map[string]any{"metadata": m})}
}

// disown takes the owner references away that drop names.
func disown(o object.Object, drop func(metav1.OwnerReference) bool) control.Change {
	left := slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), drop)
	if left == nil {
		left = []metav1.OwnerReference{}
	}
	return patch(o, metaPatch{OwnerReferences: &left})
}

// unblock makes no owner wait for o.
func unblock(o object.Object) control.Change {
	refs := slices.Clone(o.GetOwnerReferences())
	for i := range refs {
		refs[i].BlockOwnerDeletion = new(false)
	}
	return patch(o, metaPatch{OwnerReferences: &refs})
}

func unfinalize(o object.Object, finalizer string) control.Change {
	left := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer })
	if left == nil {
		left = []string{}
	}
	return patch(o, metaPatch{Finalizers: &left})
}
