package autoscale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"proa.dev/client"
	"proa.dev/control"
	"proa.dev/object"
)

// Config is what may be set; the zero value is what Kubernetes does.
type Config struct {
	Metrics           Metrics
	Period            time.Duration // between two rounds; 0 is 15 s
	Stabilization     time.Duration // of fewer replicas, unless the autoscaler says; 0 is 5 min
	Tolerance         float64       // of the ratio of what is to what should be; 0 is 0.1
	CPUInitialization time.Duration // after its start, what a pod uses before it is ready does not count; 0 is 5 min
	ReadinessDelay    time.Duration // what is ready, and then not, so soon after its start, never was; 0 is 30 s
}

// Controller is the one of all autoscalers.
type Controller struct {
	deps   control.Deps
	config Config
	log    *slog.Logger

	mu     sync.Mutex // guards scaled
	scaled map[object.Key]*known
}

// known is what is remembered of an autoscaler.
type known struct {
	history  history
	selector labels.Selector // of its target's pods; nil: not known yet
}

// New makes the controller; see Run.
func New(d control.Deps, c Config) (*Controller, error) {
	if c.Metrics == nil {
		return nil, errors.New("autoscale: there is nobody to ask for metrics")
	}
	c.Period = cmp.Or(c.Period, 15*time.Second)
	c.Stabilization = cmp.Or(c.Stabilization, 5*time.Minute)
	c.Tolerance = cmp.Or(c.Tolerance, 0.1)
	c.CPUInitialization = cmp.Or(c.CPUInitialization, 5*time.Minute)
	c.ReadinessDelay = cmp.Or(c.ReadinessDelay, 30*time.Second)
	return &Controller{deps: d, config: c, log: d.Logger("autoscale"), scaled: map[object.Key]*known{}}, nil
}

// workers is how many autoscalers are worked on at the same time: most of a round is waiting for metrics.
const workers = 5

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	loop := control.Loop{
		Name: "horizontalpodautoscaler", View: c.deps.View, Log: c.log, Do: c, Workers: workers,
		Sources: []control.Source{{Resource: object.ResourceOf[autoscaling.HorizontalPodAutoscaler](), Keys: changed}},
	}
	return loop.Run(ctx)
}

// changed wakes autoscalers whose spec is another one. Their status changes with every round.
func changed(e client.Event, wake func(object.Key)) {
	now := e.Object.(*autoscaling.HorizontalPodAutoscaler)
	if old, ok := e.Old.(*autoscaling.HorizontalPodAutoscaler); ok && e.Type == client.Modified && equality.Semantic.DeepEqual(now.Spec, old.Spec) {
		return
	}
	wake(object.KeyOf(now))
}

// Reconcile makes one round of one autoscaler. What goes wrong is told in its status and events, and looked at again in the next round.
func (c *Controller) Reconcile(ctx context.Context, key object.Key) (control.Again, error) {
	hpa, ok := client.Lookup[autoscaling.HorizontalPodAutoscaler](c.deps.View, key)
	if !ok {
		c.forget(key)
		return control.Done, nil
	}
	r := newRound(c.config, hpa, c.remember(key).history, time.Now())
	if err := c.scale(ctx, r); err != nil {
		return control.Done, err
	}
	for _, n := range r.notes {
		c.deps.Events.Event(hpa, n.kind, n.reason, "%s", n.message)
	}
	c.keep(key, func(k *known) { k.history = r.history })
	if r.problem != nil {
		c.log.Debug("round", "ns", key.Namespace, "name", key.Name, "err", r.problem)
	}
	return control.Again(c.config.Period), c.tell(ctx, r)
}

// tell writes the status if it has become another one.
func (c *Controller) tell(ctx context.Context, r *round) error {
	if equality.Semantic.DeepEqual(r.status, r.hpa.Status) {
		return nil
	}
	n := object.Clone(r.hpa)
	n.Status = r.status
	_, err := client.UpdateStatus(ctx, c.deps.Client, n)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil && !apierrors.IsConflict(err) {
		c.deps.Events.Event(r.hpa, core.EventTypeWarning, "FailedUpdateStatus", "%s", err)
	}
	return err
}

// scale finds out how many replicas there should be, and sets them. The error is the context's.
func (c *Controller) scale(ctx context.Context, r *round) error {
	resource, scale, err := c.find(ctx, r.hpa)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.unseen(err)
		return nil
	}
	if r.seen(scale.Spec.Replicas) {
		if sel, pods, ok := c.pods(r, scale.Status.Selector); !ok || !r.weigh(c.measure(ctx, r.hpa, sel), r.target(scale, pods)) {
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if r.wanted == r.current {
		r.finish(r.current)
		return nil
	}
	err = c.set(ctx, resource, scale, r.wanted)
	if err == nil {
		c.log.Info("rescaled", "ns", r.hpa.Namespace, "name", r.hpa.Name, "from", r.current, "to", r.wanted, "why", r.reason)
	}
	r.rescaled(err)
	return ctx.Err()
}

// find reads the Scale of the target.
func (c *Controller) find(ctx context.Context, hpa *autoscaling.HorizontalPodAutoscaler) (client.Resource, *autoscalingv1.Scale, error) {
	ref := hpa.Spec.ScaleTargetRef
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return client.Resource{}, nil, err
	}
	found, err := c.resource(schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
	if err != nil {
		return client.Resource{}, nil, err
	}
	s, err := c.read(ctx, found.GroupVersionResource, object.Key{Namespace: hpa.Namespace, Name: ref.Name})
	return found.GroupVersionResource, s, err
}

// resource is where the objects of a kind are.
func (c *Controller) resource(kind schema.GroupKind) (object.Resource, error) {
	for _, r := range c.deps.View.Resources() {
		if r.Group == kind.Group && r.Kind == kind.Kind {
			return r, nil
		}
	}
	return object.Resource{}, fmt.Errorf("no matches for kind %q in group %q", kind.Kind, kind.Group)
}

// read returns a Scale of ours.
func (c *Controller) read(ctx context.Context, r client.Resource, key object.Key) (*autoscalingv1.Scale, error) {
	o, err := c.deps.Client.Get(ctx, client.Target{Resource: r, Key: key, Sub: "scale"})
	var status *apierrors.StatusError
	if errors.As(err, &status) && apierrors.IsNotFound(err) && status.ErrStatus.Details != nil && status.ErrStatus.Details.Name == "scale" && key.Name != "scale" {
		return nil, errors.New("the server could not find the requested resource") // the kind has none
	}
	if err != nil {
		return nil, err
	}
	s, ok := o.(*autoscalingv1.Scale)
	if !ok {
		return nil, fmt.Errorf("received a %T from the scale subresource of %s", o, r.Resource)
	}
	return s.DeepCopy(), nil
}

// tries is how often a Scale is written that others change at the same time.
const tries = 5

// set writes the number of replicas.
func (c *Controller) set(ctx context.Context, r client.Resource, s *autoscalingv1.Scale, n int32) error {
	t := client.Target{Resource: r, Key: object.KeyOf(s), Sub: "scale"}
	for try := 1; ; try++ {
		s.Spec.Replicas = n
		_, err := c.deps.Client.Update(ctx, t, s, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) || try == tries {
			return err
		}
		fresh, gone := c.read(ctx, r, t.Key)
		if gone != nil {
			return err
		}
		s = fresh
	}
}

// pods are those that the target selects; if they cannot be known, or are not its alone, the round ends and ok is false.
func (c *Controller) pods(r *round, selector string) (sel labels.Selector, pods []*core.Pod, ok bool) {
	if selector == "" {
		r.inactive("SelectorRequired", "InvalidSelector", "selector is required", "the HPA target's scale is missing a selector")
		return nil, nil, false
	}
	sel, err := labels.Parse(selector)
	if err != nil {
		msg := fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err)
		r.inactive("InvalidSelector", "InvalidSelector", msg, msg)
		return nil, nil, false
	}
	for _, p := range client.ListOf[core.Pod](c.deps.View, client.Select{Namespace: r.hpa.Namespace}) {
		if sel.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	key := object.KeyOf(r.hpa)
	c.keep(key, func(k *known) { k.selector = sel })
	if owners := c.owners(key.Namespace, pods); len(owners) > 1 {
		msg := fmt.Sprintf("pods by selector %s are controlled by multiple HPAs: [%s]", selector, strings.Join(owners, " "))
		r.inactive("AmbiguousSelector", "AmbiguousSelector", msg, msg)
		return nil, nil, false
	}
	return sel, pods, true
}

// owners are the autoscalers of a namespace that scale one of the pods. Replicas have the same labels: those are looked at once.
func (c *Controller) owners(namespace string, pods []*core.Pod) (out []string) {
	var kinds []map[string]string
	for i, p := range pods {
		if i == 0 || !maps.Equal(p.Labels, kinds[len(kinds)-1]) {
			kinds = append(kinds, p.Labels)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, k := range c.scaled {
		if key.Namespace != namespace || k.selector == nil {
			continue
		}
		if slices.ContainsFunc(kinds, func(set map[string]string) bool { return k.selector.Matches(labels.Set(set)) }) {
			out = append(out, key.String())
		}
	}
	slices.Sort(out)
	return out
}

// patience is how long all metrics of one autoscaler may take: who serves them may hang, and others wait for their turn.
const patience = 30 * time.Second

// measure asks for all metrics.
func (c *Controller) measure(ctx context.Context, hpa *autoscaling.HorizontalPodAutoscaler, sel labels.Selector) []reading {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r := reader{Metrics: c.config.Metrics, namespace: hpa.Namespace, pods: sel, resources: c.resource,
		used: sync.OnceValues(func() ([]*metrics.PodMetrics, error) { return c.config.Metrics.Pods(ctx, hpa.Namespace, sel) })}
	out := make([]reading, len(hpa.Spec.Metrics))
	for i := range hpa.Spec.Metrics {
		out[i] = r.read(ctx, &hpa.Spec.Metrics[i])
	}
	return out
}

// remember is what is known of an autoscaler.
func (c *Controller) remember(key object.Key) known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.scaled[key]; k != nil {
		return *k
	}
	return known{}
}

func (c *Controller) keep(key object.Key, fn func(*known)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.scaled[key]
	if k == nil {
		k = &known{}
		c.scaled[key] = k
	}
	fn(k)
}

func (c *Controller) forget(key object.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.scaled, key)
}
