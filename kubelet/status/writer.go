package status

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kit/queue"
	"proa.dev/object"
)

const (
	writers  = 16 // a durable write waits for the disk; many at once share one wait
	retryMin = 50 * time.Millisecond
	retryMax = 10 * time.Second
)

// Writer tells the API the status of pods, in the background. Of several statuses of one pod the newest is written.
type Writer struct {
	api  client.Client
	view client.View
	log  *slog.Logger
	due  *queue.Queue[types.UID]

	mu    sync.Mutex // guards all below
	want  map[types.UID]*wanted
	waits map[types.UID]*start // pods that do not run yet, or that the API does not know to run yet
	times times
}

type wanted struct {
	pod    *core.Pod // as the worker last saw it
	status core.PodStatus
	final  bool      // afterwards the object may go
	since  time.Time // of the first status that was not written yet
}

// New starts nothing.
func New(api client.Client, view client.View, log *slog.Logger) *Writer {
	return &Writer{
		api: api, view: view, log: log,
		due:  queue.New[types.UID](retryMin, retryMax),
		want: map[types.UID]*wanted{}, waits: map[types.UID]*start{}, times: newTimes(),
	}
}

// Set makes s the status of pod. hold > 0 lets the write wait so long for a better one: the steps of a start that takes
// milliseconds are of no interest to anyone.
func (w *Writer) Set(pod *core.Pod, s core.PodStatus, hold time.Duration) {
	w.put(pod, s, false, hold)
}

// Finish makes s the last status of pod, and then removes its object from the API.
func (w *Writer) Finish(pod *core.Pod, s core.PodStatus) { w.put(pod, s, true, 0) }

func (w *Writer) put(pod *core.Pod, s core.PodStatus, final bool, hold time.Duration) {
	now := time.Now()
	w.mu.Lock()
	next := &wanted{pod, s, final, now}
	if old := w.want[pod.UID]; old != nil {
		next.since = old.since
	}
	w.want[pod.UID] = next
	w.follow(pod, &s, now)
	w.mu.Unlock()
	w.due.AddAfter(pod.UID, hold)
}

// Forget drops what is still to be written of a pod that is gone.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	delete(w.want, uid)
	delete(w.waits, uid)
	w.mu.Unlock()
	w.due.Forget(uid)
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for {
				uid, ok := w.due.Next(ctx)
				if !ok {
					return
				}
				w.one(ctx, uid)
				w.due.Done(uid)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

func (w *Writer) one(ctx context.Context, uid types.UID) {
	w.mu.Lock()
	want := w.want[uid]
	w.mu.Unlock()
	if want == nil {
		return
	}
	err := w.write(ctx, want)
	switch {
	case apierrors.IsNotFound(err) && want.pod.Annotations[sourceAnnotation] == "file": // its mirror is still to come
		w.due.Retry(uid)
		return
	case apierrors.IsNotFound(err): // gone: nothing to tell
	case apierrors.IsConflict(err), err != nil && ctx.Err() == nil:
		if !apierrors.IsConflict(err) {
			w.log.Warn("pod status not written", "ns", want.pod.Namespace, "name", want.pod.Name, "err", err)
		}
		w.due.Retry(uid)
		return
	case err != nil:
		return // shutting down
	}
	w.due.Forget(uid)
	w.times.written.Add(int64(time.Since(want.since)))
	w.mu.Lock()
	w.runs(want.pod, &want.status, time.Now())
	if w.want[uid] == want {
		delete(w.want, uid)
	}
	w.mu.Unlock()
}

// write merges the wanted status into the newest object and updates it, if that changes anything; at the end it deletes.
func (w *Writer) write(ctx context.Context, want *wanted) error {
	key := object.KeyOf(want.pod)
	now, err := w.current(ctx, want)
	if err != nil {
		return err
	}
	next := want.status
	next.Conditions = merge(now.Status.Conditions, pick(want.status.Conditions))
	// What others own stays theirs.
	next.NominatedNodeName, next.Resize = now.Status.NominatedNodeName, now.Status.Resize
	next.ResourceClaimStatuses = now.Status.ResourceClaimStatuses
	next.ExtendedResourceClaimStatus = now.Status.ExtendedResourceClaimStatus
	if !equality.Semantic.DeepEqual(now.Status, next) {
		o := object.Clone(now)
		o.Status = *next.DeepCopy()
		if now, err = client.UpdateStatus(ctx, w.api, o); err != nil {
			return err
		}
	}
	if !want.final || now.DeletionTimestamp == nil || MirrorOf(now) != "" {
		return nil
	}
	var zero int64
	return w.api.Delete(ctx, client.TargetOf[core.Pod](key), metav1.DeleteOptions{
		GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &want.pod.UID},
	})
}

// current is the object as it is now; after a conflict the API is asked, since the View may lag.
func (w *Writer) current(ctx context.Context, want *wanted) (*core.Pod, error) {
	key := object.KeyOf(want.pod)
	if w.due.Tries(want.pod.UID) == 0 {
		if p, ok := client.Lookup[core.Pod](w.view, key); ok && shows(p, want.pod.UID) {
			return p, nil
		}
	}
	p, err := client.Get[core.Pod](ctx, w.api, key)
	if err != nil {
		return nil, err
	}
	if !shows(p, want.pod.UID) {
		return nil, apierrors.NewNotFound(object.ResourceOf[core.Pod]().GroupResource(), key.Name)
	}
	return p, nil
}

// sourceAnnotation says where a pod comes from, if not from the API.
const sourceAnnotation = "kubernetes.io/config.source"

// MirrorOf is the uid of the static pod that an object of the API shows; "" for all other pods.
func MirrorOf(p *core.Pod) types.UID { return types.UID(p.Annotations[core.MirrorPodAnnotationKey]) }

// shows says whether p is the object of the pod with this uid.
func shows(p *core.Pod, uid types.UID) bool { return p.UID == uid || MirrorOf(p) == uid }

// pick are the conditions that the kubelet answers for: its own, and the one that it may share with others if it was it who set it.
func pick(list []core.PodCondition) []core.PodCondition {
	var out []core.PodCondition
	for _, c := range list {
		if slices.Contains(owned, c.Type) || c.Type == core.DisruptionTarget && c.Reason == core.PodReasonTerminationByKubelet {
			out = append(out, c)
		}
	}
	return out
}
