package localvolume

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	kinds "proa.dev/kinds/storage"
	"proa.dev/object"
)

// tidy removes the files that the node's annotation asks to remove, and answers.
func (d *Driver) tidy(ctx context.Context, n *core.Node) {
	asked, done := kinds.Handles(n, kinds.LocalRemove), kinds.Handles(n, kinds.LocalRemoved)
	answer := slices.DeleteFunc(slices.Clone(done), func(id string) bool { return !slices.Contains(asked, id) })
	for _, id := range asked {
		if slices.Contains(done, id) {
			continue
		}
		if err := d.store.remove(id); err != nil {
			d.Log.Warn("local volume not removed", "volume", id, "err", err)
			continue
		}
		d.Log.Info("local volume removed", "volume", id)
		answer = append(answer, id)
	}
	if slices.Equal(answer, done) {
		return
	}
	if err := d.annotate(ctx, kinds.LocalRemoved, strings.Join(answer, ",")); err != nil && ctx.Err() == nil {
		d.Log.Warn("removal of local volumes not told", "err", err) // the next change of the node, at the latest its report, tries again
	}
}

// annotate sets an annotation of this node, or removes it where value is "".
func (d *Driver) annotate(ctx context.Context, key, value string) error {
	if n, ok := client.Lookup[core.Node](d.View, object.Key{Name: d.Node}); ok && n.Annotations[key] == value {
		return nil
	}
	set := map[string]any{key: value}
	if value == "" {
		set[key] = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": set}})
	if err != nil {
		return err
	}
	_, err = d.Client.Patch(ctx, client.TargetOf[core.Node](object.Key{Name: d.Node}), client.Patch{Type: types.MergePatchType, Data: patch}, metav1.PatchOptions{})
	return err
}
