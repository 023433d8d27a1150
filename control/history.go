package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"proa.dev/object"
)

// Revisions is the history of pod templates that a StatefulSet or DaemonSet keeps in ControllerRevisions.
type Revisions struct {
	Update   *apps.ControllerRevision   // of the current template; without uid while it is yet to be created
	All      []*apps.ControllerRevision // that exist, the oldest first
	Changes  []Change                   // that make Update exist and be the newest
	Collides bool                       // Update's name is taken by something else: count the collision and try again
}

// Revise finds the revision of template among have, whatever its number, or makes a new one. The data of a revision is a strategic merge
// patch that puts its template back, as kubectl rollout undo applies it. named finds a revision by name, whoever owns it.
func Revise(owner object.Object, template *core.PodTemplateSpec, have []*apps.ControllerRevision, collisions *int32,
	named func(string) (*apps.ControllerRevision, bool)) (Revisions, error) {
	r := Revisions{All: slices.Clone(have)}
	slices.SortFunc(r.All, func(a, b *apps.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	next := int64(1)
	for i := len(r.All) - 1; i >= 0; i-- {
		rev := r.All[i]
		next = max(next, rev.Revision+1)
		if r.Update == nil && SameTemplate(rev, template) {
			r.Update = rev
		}
	}
	switch {
	case r.Update == nil:
		rev, err := newRevision(owner, template, next, collisions)
		if err != nil {
			return r, err
		}
		_, r.Collides = named(rev.Name)
		r.Update = rev
		r.Changes = []Change{{Op: Create, Object: rev}}
	case r.Update.Revision != next-1: // back to an earlier template: the same revision, with a new number
		n := object.Clone(r.Update)
		n.Revision = next
		r.Update = n
		r.Changes = []Change{{Op: Update, Object: n}}
	}
	return r, nil
}

// SameTemplate says whether rev holds template.
func SameTemplate(rev *apps.ControllerRevision, template *core.PodTemplateSpec) bool {
	t, err := TemplateOf(rev)
	return err == nil && equality.Semantic.DeepEqual(t, template)
}

// TemplateOf is the template that rev holds.
func TemplateOf(rev *apps.ControllerRevision) (*core.PodTemplateSpec, error) {
	var data struct {
		Spec struct {
			Template core.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(rev.Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", rev.Name, err)
	}
	return &data.Spec.Template, nil
}

func newRevision(owner object.Object, t *core.PodTemplateSpec, number int64, collisions *int32) (*apps.ControllerRevision, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var template map[string]any
	if err := json.Unmarshal(raw, &template); err != nil {
		return nil, err
	}
	template["$patch"] = "replace"
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil {
		return nil, err
	}
	h := fnv.New32a()
	h.Write(data)
	if n := Or(collisions, 0); n != 0 {
		h.Write(strconv.AppendInt(nil, int64(n), 10))
	}
	hash := SafeName(strconv.FormatUint(uint64(h.Sum32()), 10))
	labels := maps.Clone(t.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[apps.ControllerRevisionHashLabelKey] = hash
	prefix := owner.GetName()
	return &apps.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), Name: prefix[:min(len(prefix), 223)] + "-" + hash, Labels: labels,
			Annotations: maps.Clone(owner.GetAnnotations()), OwnerReferences: []metav1.OwnerReference{RefOf(owner)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}, nil
}

// Expired is the changes that delete the oldest revisions beyond limit, not counting those that live names.
func (r Revisions) Expired(limit *int32, live func(name string) bool) []Change {
	if limit == nil || *limit < 0 {
		return nil
	}
	var old []*apps.ControllerRevision
	for _, rev := range r.All {
		if rev.Name != r.Update.Name && !live(rev.Name) {
			old = append(old, rev)
		}
	}
	var changes []Change
	for _, rev := range old[:max(0, len(old)-int(*limit))] {
		changes = append(changes, Change{Op: Delete, Object: rev})
	}
	return changes
}
