package csi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	csi "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Volume is one volume of a pod.
type Volume struct {
	Pod      *core.Pod
	Source   *core.CSIVolumeSource  // of an ephemeral inline volume
	PV       *core.PersistentVolume // of any other
	Name     string                 // of the volume: the persistent volume's, or as the pod calls it
	ReadOnly bool                   // the pod does not want to write
}

// Made is what Publish has made.
type Made struct {
	Path  string    // directory, or the link to a block device
	New   bool      // it was not there before
	Own   bool      // its files are to be given to the pod's fsGroup by the kubelet
	Renew time.Time // when Publish wants to be called again; zero: never
}

// Driver is the name of the driver whose volume it is.
func (v *Volume) Driver() string {
	if v.Source != nil {
		return v.Source.Driver
	}
	return v.PV.Spec.CSI.Driver
}

// handle is the driver's name of the volume; that of an inline volume follows from the pod.
func (v *Volume) handle() string {
	if v.Source != nil {
		return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(v.Pod.UID)+v.Name)))
	}
	return v.PV.Spec.CSI.VolumeHandle
}

func (v *Volume) block() bool {
	return v.PV != nil && v.PV.Spec.VolumeMode != nil && *v.PV.Spec.VolumeMode == core.PersistentVolumeBlock
}

// alone says whether only one pod may have the volume at a time.
func (v *Volume) alone() bool {
	return v.PV != nil && len(v.PV.Spec.AccessModes) == 1 && v.PV.Spec.AccessModes[0] == core.ReadWriteOncePod
}

func (v *Volume) fsType() string {
	switch {
	case v.PV != nil:
		return v.PV.Spec.CSI.FSType
	case v.Source.FSType != nil:
		return *v.Source.FSType
	}
	return ""
}

// Path is where the volume lies once it is published.
func (s *Drivers) Path(v *Volume) string {
	if v.block() {
		return filepath.Join(s.podDevices(v.Pod.UID), v.Name)
	}
	return filepath.Join(s.podVolumes(v.Pod.UID), v.Name, "mount")
}

// republish is how long a volume of a driver with requiresRepublish is left alone.
const republish = time.Minute

// Publish makes the volume usable for its pod, or makes sure that it is. Safe to repeat.
func (s *Drivers) Publish(ctx context.Context, v *Volume) (Made, error) {
	d, err := s.driver(v.Driver())
	if err != nil {
		return Made{}, fmt.Errorf("kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: %w", err)
	}
	about, err := s.Sources.Driver(d.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return Made{}, err
	}
	if about == nil || err != nil {
		about = nil
	}
	if err := checkLifecycle(v, d.Name, about); err != nil {
		return Made{}, err
	}
	o := &operation{Drivers: s, d: d, about: about, v: v, dev: device{d.Name, v.handle()}}
	u := s.lock(o.dev)
	defer u.mu.Unlock()
	made := Made{Path: s.Path(v)}
	at, have := u.pods[v.Pod.UID]
	have = have && o.published()
	again := about != nil && about.Spec.RequiresRepublish != nil && *about.Spec.RequiresRepublish
	if have && (!again || time.Since(at) < republish) {
		if again {
			made.Renew = at.Add(republish)
		}
		return made, nil
	}
	if !have && v.alone() && o.elsewhere(u) {
		return Made{}, errors.New("volume uses the ReadWriteOncePod access mode and is already in use by another pod")
	}
	if err := o.make(ctx, u); err != nil {
		return Made{}, err
	}
	made.New = !have
	made.Own = made.New && o.own()
	u.pods[v.Pod.UID] = time.Now()
	if again {
		made.Renew = time.Now().Add(republish)
	}
	return made, nil
}

func checkLifecycle(v *Volume, driver string, about *storage.CSIDriver) error {
	want := storage.VolumeLifecyclePersistent
	if v.Source != nil {
		want = storage.VolumeLifecycleEphemeral
	}
	switch {
	case about == nil && want == storage.VolumeLifecyclePersistent:
		return nil
	case about == nil:
		return fmt.Errorf("kubernetes.io/csi: mounter.SetupAt failed to check volume lifecycle mode: volume mode %q not supported by driver %s (no CSIDriver object)", want, driver)
	case !slices.Contains(about.Spec.VolumeLifecycleModes, want):
		return fmt.Errorf("kubernetes.io/csi: mounter.SetupAt failed to check volume lifecycle mode: volume mode %q not supported by driver %s (only supports %q)",
			want, driver, about.Spec.VolumeLifecycleModes)
	}
	return nil
}

// operation is one Publish.
type operation struct {
	*Drivers
	d     *driver
	about *storage.CSIDriver // nil: there is none
	v     *Volume
	dev   device

	context map[string]string // of the attachment
}

// published says whether an earlier call has done it all.
func (o *operation) published() bool {
	if o.v.block() {
		i, err := os.Stat(o.Path(o.v)) // a file where a device was bound is what an unmount leaves
		return err == nil && i.Mode()&os.ModeDevice != 0
	}
	return isMountPoint(o.Path(o.v))
}

// elsewhere says whether another pod has the volume. u.mu is held.
func (o *operation) elsewhere(u *use) bool {
	for id := range u.pods {
		v := *o.v
		v.Pod = &core.Pod{ObjectMeta: metav1.ObjectMeta{UID: id}}
		if other := (operation{Drivers: o.Drivers, v: &v}); id != o.v.Pod.UID && other.published() {
			return true
		}
	}
	return false
}

// make attaches, stages and publishes. Before it does anything it leaves a trace on disk, for Teardown to find. u.mu is held.
func (o *operation) make(ctx context.Context, u *use) error {
	r := o.record()
	unique := core.UniqueVolumeName("")
	if o.attachable() {
		unique = core.UniqueVolumeName("kubernetes.io/csi/" + o.dev.driver + "^" + o.dev.handle)
		r.Attached = string(unique)
	}
	data := filepath.Dir(o.Path(o.v))
	if o.v.block() {
		if err := o.link(); err != nil {
			return err
		}
		u.block, data = o.v.Name, o.blockData(o.v.Name)
	}
	if have, err := readRecord(data); err != nil || !o.v.block() && have.Asked != r.Asked {
		if err == nil {
			r.Asked = have.Asked
		}
		if err := r.write(data); err != nil {
			return err
		}
	}
	o.hold(u, o.v.Pod.UID, unique)
	if err := o.attached(ctx, u); err != nil {
		return err
	}
	if o.v.PV != nil && o.d.can[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] && !u.ready {
		if err := o.stage(ctx, u); err != nil {
			return err
		}
	}
	if r.Asked = "true"; !o.v.block() {
		if err := r.write(data); err != nil {
			return err
		}
	}
	return o.publish(ctx, u)
}

func (o *operation) record() *record {
	r := &record{
		Name: o.v.Name, Handle: o.dev.handle, Driver: o.dev.driver, Node: o.Node, Lifecycle: string(storage.VolumeLifecyclePersistent),
		Attachment: attachment(o.dev, o.Node),
	}
	if o.v.Source != nil {
		r.Lifecycle = string(storage.VolumeLifecycleEphemeral)
	}
	return r
}

// link makes the pod's link to the block device that is to come.
func (o *operation) link() error {
	link := o.Path(o.v)
	if err := os.MkdirAll(filepath.Dir(link), 0o750); err != nil {
		return err
	}
	if err := os.Symlink(o.blockTarget(o.v.Name, o.v.Pod.UID), link); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// attachable says whether a controller has to attach the volume first.
func (o *operation) attachable() bool {
	return o.v.PV != nil && attaches(o.about)
}

// How long an attachment may take, and how often it is looked at if nothing is heard of it.
const (
	attachWithin = 2 * time.Minute
	attachLook   = 5 * time.Second
)

// attached waits until the volume is attached to this node, or has not to be any more. u.mu is held.
func (o *operation) attached(ctx context.Context, u *use) error {
	if !o.attachable() {
		o.letGo(u)
		return o.tellInUse(ctx)
	}
	if err := o.tellInUse(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	for {
		news := o.news.next()
		if about, err := o.Sources.Driver(o.dev.driver); err == nil && !attaches(about) {
			o.letGo(u)
			return o.tellInUse(ctx)
		}
		a, err := o.Sources.Attachment(attachment(o.dev, o.Node))
		switch {
		case err == nil && a.Status.Attached && a.DeletionTimestamp == nil:
			o.context = a.Status.AttachmentMetadata
			return nil
		case err == nil && a.Status.AttachError != nil:
			err = errors.New(a.Status.AttachError.Message)
		case err == nil:
			err = fmt.Errorf("volume %v is not attached for volume attachment %v", o.dev.handle, a.Name)
		}
		t := time.NewTimer(attachLook)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("timed out waiting for external-attacher of %v CSI driver to attach volume %v: %w", o.dev.driver, o.dev.handle, err)
		case <-news:
		case <-t.C:
		}
		t.Stop()
	}
}

// attachment is the name of the VolumeAttachment of a device to a node.
func attachment(d device, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(d.handle+d.driver+node)))
}

// stage has the driver prepare the volume, once for all pods of the node. u.mu is held.
func (o *operation) stage(ctx context.Context, u *use) error {
	src := o.v.PV.Spec.CSI
	secrets, err := o.secrets(src.NodeStageSecretRef, "NodeStageSecretRef")
	if err != nil {
		return &Unstaged{err}
	}
	data, r := o.stageDir(o.dev), &record{Handle: o.dev.handle, Driver: o.dev.driver}
	path := filepath.Join(data, "globalmount")
	if o.v.block() {
		path, data, r = o.blockStage(o.v.Name), o.blockData(o.v.Name), o.record()
		r.Attached = string(u.attached)
	}
	how, err := o.capability()
	if err != nil {
		return &Unstaged{err}
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	if err := r.write(data); err != nil {
		return err
	}
	u.staged = path // also if the call fails: nobody knows how far it came
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = o.d.node.NodeStageVolume(call, &csi.NodeStageVolumeRequest{
		VolumeId: o.dev.handle, PublishContext: o.context, StagingTargetPath: path, VolumeCapability: how, Secrets: secrets, VolumeContext: src.VolumeAttributes,
	})
	if err != nil {
		if Final(err) && !o.v.block() && !isMountPoint(path) {
			u.staged = ""
			err = errors.Join(err, removeTarget(path), removeRecord(data))
		}
		return &Unstaged{err}
	}
	u.ready = true
	if r.Staged = bootID(); isMountPoint(path) {
		r.Mounted = "true"
	}
	return r.write(data)
}

// Unstaged is an error of the step that is made once for all pods.
type Unstaged struct{ error }

func (e *Unstaged) Unwrap() error { return e.error }

// publish has the driver show the volume to the pod. u.mu is held.
func (o *operation) publish(ctx context.Context, u *use) error {
	req, err := o.request(ctx, u)
	if err != nil {
		return err
	}
	if o.v.block() {
		req.TargetPath = o.blockTarget(o.v.Name, o.v.Pod.UID)
	}
	if err := os.MkdirAll(filepath.Dir(req.TargetPath), 0o750); err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err = o.d.node.NodePublishVolume(call, req); err != nil && Final(err) && !isMountPoint(req.TargetPath) {
		return errors.Join(err, removeTarget(req.TargetPath))
	}
	return err
}

func (o *operation) request(ctx context.Context, u *use) (*csi.NodePublishVolumeRequest, error) {
	req := &csi.NodePublishVolumeRequest{
		VolumeId: o.dev.handle, PublishContext: o.context, StagingTargetPath: u.staged, TargetPath: o.Path(o.v), Readonly: o.v.ReadOnly,
	}
	ref := (*core.SecretReference)(nil)
	if o.v.PV != nil {
		req.VolumeContext, ref = maps.Clone(o.v.PV.Spec.CSI.VolumeAttributes), o.v.PV.Spec.CSI.NodePublishSecretRef
	} else {
		req.VolumeContext, req.Readonly = maps.Clone(o.v.Source.VolumeAttributes), o.v.Source.ReadOnly != nil && *o.v.Source.ReadOnly
		if r := o.v.Source.NodePublishSecretRef; r != nil {
			ref = &core.SecretReference{Name: r.Name, Namespace: o.v.Pod.Namespace}
		}
	}
	var err error
	if req.VolumeCapability, err = o.capability(); err != nil {
		return nil, err
	}
	if req.Secrets, err = o.secrets(ref, "NodePublishSecretRef"); err != nil {
		return nil, err
	}
	return req, o.podContext(ctx, req)
}

func (o *operation) secrets(ref *core.SecretReference, what string) (map[string]string, error) {
	if ref == nil {
		return nil, nil
	}
	s, err := o.Sources.Secret(ref.Namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("fetching %s %s/%s failed: %w", what, ref.Namespace, ref.Name, err)
	}
	out := make(map[string]string, len(s.Data))
	for k, v := range s.Data {
		out[k] = string(v)
	}
	return out, nil
}

// capability says how the volume is to be used.
func (o *operation) capability() (*csi.VolumeCapability, error) {
	mode := core.ReadWriteOnce
	var flags []string
	if o.v.PV != nil {
		flags = o.v.PV.Spec.MountOptions
		if modes := o.v.PV.Spec.AccessModes; len(modes) > 0 {
			mode = modes[0]
		}
	}
	asked, err := accessMode(mode, o.d.can[csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER])
	if err != nil {
		return nil, err
	}
	c := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: asked}}
	if o.v.block() {
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		return c, nil
	}
	m := &csi.VolumeCapability_MountVolume{FsType: o.v.fsType(), MountFlags: flags}
	if g := fsGroup(o.v.Pod); g != nil && o.d.can[csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] {
		m.VolumeMountGroup = strconv.FormatInt(*g, 10)
	}
	c.AccessType = &csi.VolumeCapability_Mount{Mount: m}
	return c, nil
}

// accessMode translates; fine says whether the driver tells one writer on one node from several.
func accessMode(m core.PersistentVolumeAccessMode, fine bool) (csi.VolumeCapability_AccessMode_Mode, error) {
	switch m {
	case core.ReadWriteOnce:
		if fine {
			return csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, nil
		}
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, nil
	case core.ReadWriteOncePod:
		if fine {
			return csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, nil
		}
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, nil
	case core.ReadOnlyMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, nil
	case core.ReadWriteMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, nil
	}
	return 0, fmt.Errorf("unknown access mode %q", m)
}

func fsGroup(pod *core.Pod) *int64 {
	if sc := pod.Spec.SecurityContext; sc != nil {
		return sc.FSGroup
	}
	return nil
}

// own says whether the kubelet gives the files to the pod's fsGroup: as the driver's fsGroupPolicy wants it, and unless the driver did.
func (o *operation) own() bool {
	if o.v.block() || fsGroup(o.v.Pod) == nil || o.v.ReadOnly || o.d.can[csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] {
		return false
	}
	policy := storage.ReadWriteOnceWithFSTypeFSGroupPolicy
	if o.about != nil && o.about.Spec.FSGroupPolicy != nil {
		policy = *o.about.Spec.FSGroupPolicy
	}
	switch policy {
	case storage.FileFSGroupPolicy:
		return true
	case storage.NoneFSGroupPolicy:
		return false
	}
	once := func(m core.PersistentVolumeAccessMode) bool {
		return m == core.ReadWriteOnce || m == core.ReadWriteOncePod
	}
	return o.v.fsType() != "" && o.v.PV != nil && slices.ContainsFunc(o.v.PV.Spec.AccessModes, once)
}

// Final says whether a call that failed has left nothing under way.
func Final(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return false
	}
	return true
}
