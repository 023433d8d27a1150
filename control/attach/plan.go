package attach

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/control"
)

// unhealthyFor is how long a node has to be unhealthy before its volumes are taken by force.
const unhealthyFor = 6 * time.Minute

// state is what a plan for one node looks at.
type state struct {
	name  string
	node  *core.Node                  // nil: it is gone
	wants []want                      // what its pods need
	have  []*storage.VolumeAttachment // of this node that are ours
	// elsewhere are the other nodes that a volume is attached to, or about to be.
	elsewhere func(volume string) []string
	// users are the pods that have a volume on such nodes, by name.
	users func(pv *core.PersistentVolume, nodes []string) []string
	// volume finds a PersistentVolume.
	volume func(name string) *core.PersistentVolume
	since  map[string]time.Time // by attachment: when it was first not needed any more; the plan keeps it
	now    time.Time
}

// want is a volume that a pod of the node needs.
type want struct {
	pv  *core.PersistentVolume
	pod *core.Pod
}

// Name is the name of the VolumeAttachment of a volume to a node.
func Name(src *core.CSIPersistentVolumeSource, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(src.VolumeHandle+src.Driver+node)))
}

// unique is the name of a volume in a node's status.
func unique(src *core.CSIPersistentVolumeSource) core.UniqueVolumeName {
	return core.UniqueVolumeName("kubernetes.io/csi/" + src.Driver + "^" + src.VolumeHandle)
}

// plan says what to do next for a node, and when to look again.
func (s *state) plan() ([]control.Change, control.Again) {
	needed := map[string]want{}
	for _, w := range s.wants {
		if s.node != nil {
			needed[Name(w.pv.Spec.CSI, s.name)] = w
		}
	}
	var creates, deletes []control.Change
	there, attached := map[string]bool{}, map[core.UniqueVolumeName]bool{}
	again := control.Done
	for _, a := range s.have {
		there[a.Name] = true
		pv := s.volume(*a.Spec.Source.PersistentVolumeName)
		if _, ok := needed[a.Name]; ok || a.DeletionTimestamp != nil {
			delete(s.since, a.Name)
		} else {
			wait := s.detachAt(a, pv)
			if wait == control.Done {
				delete(s.since, a.Name)
				deletes = append(deletes, control.Change{Op: control.Delete, Object: a})
				continue
			}
			again = again.Sooner(wait)
		}
		if a.Status.Attached && a.DeletionTimestamp == nil {
			attached[unique(pv.Spec.CSI)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		if !there[name] {
			creates = append(creates, s.attach(name, needed[name]))
		}
	}
	changes := slices.Concat(s.tell(attached, needed), deletes, creates)
	return changes, again
}

// detachAt says when a volume that no pod needs any more may be taken from its node: Done is now.
func (s *state) detachAt(a *storage.VolumeAttachment, pv *core.PersistentVolume) control.Again {
	if s.node == nil || !slices.Contains(s.node.Status.VolumesInUse, unique(pv.Spec.CSI)) {
		return control.Done
	}
	for _, t := range s.node.Spec.Taints {
		if t.Key == core.TaintNodeOutOfService {
			return control.Done
		}
	}
	at, known := s.since[a.Name]
	if !known {
		at = s.now
		s.since[a.Name] = at
	}
	if healthy(s.node) {
		return waits // the kubelet says when it has let go, which wakes us
	}
	if end := at.Add(unhealthyFor); s.now.Before(end) {
		return control.Until(end, s.now)
	}
	return control.Done
}

// waits is an Again that means nothing but "not now".
const waits = control.Again(time.Hour)

func healthy(n *core.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == core.NodeReady {
			return c.Status == core.ConditionTrue
		}
	}
	return false
}

// attach makes an attachment, unless another node has the volume that one may have.
func (s *state) attach(name string, w want) control.Change {
	pv := w.pv
	if once(pv) {
		if nodes := s.elsewhere(pv.Name); len(nodes) > 0 {
			why := "Volume is already exclusively attached to one node and can't be attached to another"
			if pods := s.users(pv, nodes); len(pods) > 0 {
				why = "Volume is already used by pod(s) " + strings.Join(pods, ", ")
			}
			return control.Change{Op: tellOnly, Said: control.Note{On: w.pod, Type: core.EventTypeWarning, Reason: "FailedAttachVolume", Format: fmt.Sprintf(
				"Multi-Attach error for volume %q %s", pv.Name, why)}}
		}
	}
	return control.Change{Op: control.Create, Object: &storage.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: storage.VolumeAttachmentSpec{
			Attacher: pv.Spec.CSI.Driver, NodeName: s.name, Source: storage.VolumeAttachmentSource{PersistentVolumeName: &pv.Name},
		},
	}}
}

// tellOnly marks a change of which only the note counts.
const tellOnly control.Op = "tell"

// once says whether no second node may have the volume.
func once(pv *core.PersistentVolume) bool {
	return !slices.ContainsFunc(pv.Spec.AccessModes, func(m core.PersistentVolumeAccessMode) bool {
		return m == core.ReadWriteMany || m == core.ReadOnlyMany
	})
}

// tell writes to the node's status what is attached, which its kubelet waits for.
func (s *state) tell(attached map[core.UniqueVolumeName]bool, needed map[string]want) []control.Change {
	if s.node == nil {
		return nil
	}
	now := []core.AttachedVolume{}
	old := map[core.UniqueVolumeName]bool{}
	for _, v := range s.node.Status.VolumesAttached {
		old[v.Name] = true
		if !strings.HasPrefix(string(v.Name), "kubernetes.io/csi/") || attached[v.Name] {
			now = append(now, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attached)) {
		if !old[name] {
			now = append(now, core.AttachedVolume{Name: name})
		}
	}
	if equality.Semantic.DeepEqual(now, s.node.Status.VolumesAttached) {
		return nil
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": s.node.UID}, "status": map[string]any{"volumesAttached": now}})
	if err != nil {
		return nil // strings always marshal
	}
	changes := []control.Change{{Op: control.Patch, Object: s.node, Sub: "status", Patch: client.Patch{Type: types.MergePatchType, Data: text}}}
	for _, key := range slices.Sorted(maps.Keys(needed)) {
		w := needed[key]
		if name := unique(w.pv.Spec.CSI); attached[name] && !old[name] {
			changes = append(changes, control.Change{Op: tellOnly, Said: control.Note{On: w.pod, Reason: "SuccessfulAttachVolume", Format: fmt.Sprintf(
				"AttachVolume.Attach succeeded for volume %q ", w.pv.Name)}})
		}
	}
	return changes
}
