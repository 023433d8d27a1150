package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// nodeIDs is the node's annotation with its id at each driver, as JSON.
const nodeIDs = "csi.volume.kubernetes.io/nodeid"

// writes bounds how often an object is written anew because somebody else was faster.
const writes = 5

// ensure makes the node's CSINode, without drivers, if it is not there.
func (s *Drivers) ensure(ctx context.Context) error {
	return s.edit(ctx, func([]storage.CSINodeDriver) []storage.CSINodeDriver { return nil })
}

// install puts a driver into the CSINode and its topology into the node's labels.
func (s *Drivers) install(ctx context.Context, name string, info *csi.NodeGetInfoResponse) error {
	s.objects.Lock()
	defer s.objects.Unlock()
	topology := info.GetAccessibleTopology().GetSegments()
	if err := s.label(ctx, name, info.GetNodeId(), topology); err != nil {
		return fmt.Errorf("error updating Node object with CSI driver node info: %w", err)
	}
	d := storage.CSINodeDriver{Name: name, NodeID: info.GetNodeId(), TopologyKeys: slices.Sorted(maps.Keys(topology))}
	if n := info.GetMaxVolumesPerNode(); n > 0 {
		d.Allocatable = &storage.VolumeNodeResources{Count: new(int32(min(n, 1<<31-1)))}
	}
	err := s.edit(ctx, func(have []storage.CSINodeDriver) []storage.CSINodeDriver {
		i := slices.IndexFunc(have, func(h storage.CSINodeDriver) bool { return h.Name == name })
		switch {
		case i < 0:
			return append(have, d)
		case reflect.DeepEqual(have[i], d):
			return nil
		}
		have[i] = d
		return have
	})
	if err != nil {
		return fmt.Errorf("error updating CSINode object with CSI driver node info: %w", err)
	}
	return nil
}

// uninstall takes a driver out again. The labels stay: volumes were made by them.
func (s *Drivers) uninstall(ctx context.Context, name string) error {
	s.objects.Lock()
	defer s.objects.Unlock()
	if err := s.label(ctx, name, "", nil); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return s.edit(ctx, func(have []storage.CSINodeDriver) []storage.CSINodeDriver {
		left := slices.DeleteFunc(slices.Clone(have), func(h storage.CSINodeDriver) bool { return h.Name == name })
		if len(left) == len(have) {
			return nil
		}
		return left
	})
}

// edit changes the drivers of the node's CSINode, which it makes if need be. fn gets a copy and returns nil for no change.
func (s *Drivers) edit(ctx context.Context, fn func([]storage.CSINodeDriver) []storage.CSINodeDriver) error {
	key := object.Key{Name: s.Node}
	var err error
	for range writes {
		var have *storage.CSINode
		have, err = client.Get[storage.CSINode](ctx, s.Client, key)
		if apierrors.IsNotFound(err) {
			var n *core.Node
			if n, err = client.Get[core.Node](ctx, s.Client, key); err != nil {
				return err
			}
			made := &storage.CSINode{ObjectMeta: metav1.ObjectMeta{Name: s.Node, OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID,
			}}}}
			if made.Spec.Drivers = fn(nil); made.Spec.Drivers == nil {
				made.Spec.Drivers = []storage.CSINodeDriver{}
			}
			if _, err = client.Create(ctx, s.Client, made); err == nil || !apierrors.IsAlreadyExists(err) {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		n := object.Clone(have)
		drivers := fn(n.Spec.Drivers)
		if drivers == nil {
			return nil
		}
		n.Spec.Drivers = drivers
		if _, err = client.Update(ctx, s.Client, n); err == nil || !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

// label writes the node's id at a driver ("" removes it) and the labels of its topology to the Node.
func (s *Drivers) label(ctx context.Context, driver, id string, topology map[string]string) error {
	key := object.Key{Name: s.Node}
	var err error
	for range writes {
		var have *core.Node
		if have, err = client.Get[core.Node](ctx, s.Client, key); err != nil {
			return err
		}
		n := object.Clone(have)
		if err := place(n, driver, id, topology); err != nil {
			return err
		}
		if reflect.DeepEqual(n.ObjectMeta, have.ObjectMeta) {
			return nil
		}
		if _, err = client.Update(ctx, s.Client, n); err == nil || !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

// place is what label does to the Node.
func place(n *core.Node, driver, id string, topology map[string]string) error {
	ids := map[string]string{}
	if text := n.Annotations[nodeIDs]; text != "" {
		if err := json.Unmarshal([]byte(text), &ids); err != nil {
			return fmt.Errorf("failed to parse node's %q annotation value (%s): %w", nodeIDs, text, err)
		}
		if ids == nil { // "null", which anybody who may write the node can put there
			ids = map[string]string{}
		}
	}
	if id == "" {
		delete(ids, driver)
	} else {
		ids[driver] = id
	}
	if len(ids) == 0 {
		delete(n.Annotations, nodeIDs)
	} else {
		text, err := json.Marshal(ids)
		if err != nil {
			return err
		}
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		n.Annotations[nodeIDs] = string(text)
	}
	for k, v := range topology {
		if have, ok := n.Labels[k]; ok && have != v {
			return fmt.Errorf("detected topology value collision: driver reported %q:%q but existing label is %q:%q", k, v, k, have)
		}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[k] = v
	}
	return nil
}

// tellInUse brings the node's volumesInUse up to date: what stands there is not detached under the pods' feet.
func (s *Drivers) tellInUse(ctx context.Context) error {
	s.report.Lock()
	defer s.report.Unlock()
	s.mu.Lock()
	now := slices.Sorted(maps.Keys(s.inUse))
	same := slices.Equal(now, s.told) && !s.unsure
	s.unsure = !same // until it is written: who gives up waiting does not know what came of it
	s.mu.Unlock()
	if same {
		return nil
	}
	if now == nil {
		now = []core.UniqueVolumeName{}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"volumesInUse": now}})
	if err != nil {
		return err
	}
	t := client.TargetOf[core.Node](object.Key{Name: s.Node})
	t.Sub = "status"
	if _, err := s.Client.Patch(ctx, t, client.Patch{Type: types.MergePatchType, Data: patch}, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("tell the volumes in use: %w", err)
	}
	s.mu.Lock()
	s.told, s.unsure = now, false
	s.mu.Unlock()
	return nil
}
