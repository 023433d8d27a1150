package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"proa.dev/client"
	kinds "proa.dev/kinds/core"
	"proa.dev/kubelet/status"
	"proa.dev/object"
)

// Annotations of static pods, and of the mirrors that show them in the API.
const (
	sourceAnnotation = "kubernetes.io/config.source"
	hashAnnotation   = "kubernetes.io/config.hash"
)

// Static runs the pods of a directory of manifests, whatever the API says. For each it keeps a mirror in the API, so that people see it
// there; deleting the mirror does not touch the pod.
type Static struct {
	dir  string
	node string
	api  client.Client
	view client.View
	sink Sink
	log  *slog.Logger

	mu   sync.Mutex // guards pods
	pods map[types.UID]*core.Pod
	kick chan struct{}
}

// NewStatic starts nothing.
func NewStatic(dir, node string, api client.Client, view client.View, sink Sink, log *slog.Logger) *Static {
	return &Static{dir: dir, node: node, api: api, view: view, sink: sink, log: log, pods: map[types.UID]*core.Pod{}, kick: make(chan struct{}, 1)}
}

// Load reads the directory and tells the sink what came, changed and went. A manifest that cannot be read changes nothing.
func (s *Static) Load() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("kubelet.staticPods: %w; make the directory, or leave the setting out", err)
	}
	found := map[types.UID]*core.Pod{}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		p, err := s.parse(filepath.Join(s.dir, e.Name()))
		if err != nil {
			s.log.Warn("static pod not read", "file", e.Name(), "err", err)
			return nil // perhaps half-written; the next change brings us back
		}
		found[p.UID] = p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, p := range s.pods {
		if found[uid] == nil {
			s.sink.Gone(p)
		}
	}
	for uid, p := range found {
		if s.pods[uid] == nil {
			s.sink.Set(p)
		}
	}
	s.pods = found
	return nil
}

// parse reads one manifest and gives the pod a name and a uid: the uid follows from the content, so a changed manifest is another pod.
func (s *Static) parse(path string) (*core.Pod, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &core.Pod{}
	if err := yaml.UnmarshalStrict(b, p); err != nil {
		return nil, err
	}
	if p.Kind != "Pod" || p.Name == "" || len(p.Spec.Containers) == 0 {
		return nil, errors.New("this is no pod")
	}
	kinds.Pod.Default(p)
	sum := sha256.Sum256(append([]byte(s.node+"\x00"+path+"\x00"), b...))
	p.UID = types.UID(hex.EncodeToString(sum[:16]))
	p.Name += "-" + s.node
	if p.Namespace == "" {
		p.Namespace = core.NamespaceDefault
	}
	p.Spec.NodeName = s.node
	p.Spec.Tolerations = append(p.Spec.Tolerations, core.Toleration{Operator: core.TolerationOpExists, Effect: core.TaintEffectNoExecute})
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[sourceAnnotation], p.Annotations[hashAnnotation] = "file", string(p.UID)
	return p, nil
}

// Run follows the directory and the mirrors until ctx ends.
func (s *Static) Run(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("static pods: %w", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	defer file.Close()
	mask := uint32(unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE)
	if _, err := unix.InotifyAddWatch(fd, s.dir, mask); err != nil {
		return fmt.Errorf("static pods: watch %s: %w", s.dir, err)
	}
	go func() { // ends when file is closed
		buf := make([]byte, 4096)
		for {
			if _, err := file.Read(buf); err != nil {
				return
			}
			s.wake()
		}
	}()
	go s.followMirrors(ctx)
	for {
		if err := s.Load(); err != nil {
			return err
		}
		s.mirror(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kick:
		}
	}
}

func (s *Static) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// followMirrors wakes Run when a mirror of this node is deleted or about to be. It ends with ctx.
func (s *Static) followMirrors(ctx context.Context) {
	err := client.Watch(ctx, s.view, func(t client.EventType, now, _ *core.Pod) {
		if now != nil && now.Spec.NodeName == s.node && status.MirrorOf(now) != "" && (t == client.Deleted || now.DeletionTimestamp != nil) {
			s.wake()
		}
		if t == client.Synced {
			s.wake()
		}
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("mirrors of static pods not watched", "err", err)
	}
}

// mirror makes the mirrors in the API as the pods are. What fails is tried again at the next wake.
func (s *Static) mirror(ctx context.Context) {
	s.mu.Lock()
	want := make(map[object.Key]*core.Pod, len(s.pods))
	for _, p := range s.pods {
		want[object.KeyOf(p)] = p
	}
	s.mu.Unlock()
	var errs []error
	for _, m := range client.ListOf[core.Pod](s.view, client.Select{Node: s.node}) {
		of := status.MirrorOf(m)
		if of == "" {
			continue
		}
		if p := want[object.KeyOf(m)]; p != nil && p.UID == of && m.DeletionTimestamp == nil {
			delete(want, object.KeyOf(m))
			continue
		}
		var now int64
		err := s.api.Delete(ctx, client.TargetOf[core.Pod](object.KeyOf(m)), metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &m.UID},
		})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	for _, p := range want {
		errs = append(errs, s.create(ctx, p))
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		s.log.Warn("static pods not shown in the API", "err", err)
	}
}

func (s *Static) create(ctx context.Context, p *core.Pod) error {
	m := object.Clone(p)
	m.UID = ""
	m.Annotations[core.MirrorPodAnnotationKey] = string(p.UID)
	if n, ok := client.Lookup[core.Node](s.view, object.Key{Name: s.node}); ok {
		controller := true
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID, Controller: &controller}}
	}
	if _, err := client.Create(ctx, s.api, m); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	s.sink.Touch(p.UID) // a new mirror shows no status yet
	return nil
}
