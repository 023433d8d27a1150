package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	kinds "proa.dev/kinds/flowcontrol"
	"proa.dev/object"
)

// Field managers, as Kubernetes names them.
const (
	producer = "api-priority-and-fairness-config-producer-v1"
	consumer = "api-priority-and-fairness-config-consumer-v1"
)

// Follower keeps a Sharer and the objects in step.
type Follower struct {
	Sharer *Sharer
	View   client.View
	Client client.Client
	Log    *slog.Logger
}

// Run makes the Sharer follow the objects, and the objects be there that every cluster has, until ctx ends. It begins when the server is
// ready: what Ensure has written is there by then.
func (f *Follower) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	tell := func(t client.EventType) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 2)
	var wg sync.WaitGroup
	defer wg.Wait() // for both watches, which end with ctx
	wg.Go(func() {
		errs <- client.Watch(ctx, f.View, func(t client.EventType, now, old *flowcontrol.FlowSchema) { tell(t) })
	})
	wg.Go(func() {
		errs <- client.Watch(ctx, f.View, func(t client.EventType, now, old *flowcontrol.PriorityLevelConfiguration) { tell(t) })
	})
	defer cancel()
	for {
		select {
		case <-changed:
			f.follow(ctx)
		case err := <-errs:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow acts on the objects as they are now. What fails is logged and tried again at the next change.
func (f *Follower) follow(ctx context.Context) {
	if err := Ensure(ctx, f.Client, f.View); err != nil && ctx.Err() == nil {
		f.Log.Warn("keep the objects of fairness", "err", err)
	}
	schemas, levels := client.ListOf[flowcontrol.FlowSchema](f.View, client.Select{}), client.ListOf[flowcontrol.PriorityLevelConfiguration](f.View, client.Select{})
	f.Sharer.Configure(schemas, levels)
	var wg sync.WaitGroup
	defer wg.Wait() // the writes are made at once: they share the syncs of the store's log
	for _, s := range schemas {
		name := s.Spec.PriorityLevelConfiguration.Name
		_, found := client.Lookup[flowcontrol.PriorityLevelConfiguration](f.View, object.Key{Name: name})
		c, changed := dangling(s, found, time.Now())
		if !changed {
			continue
		}
		wg.Go(func() {
			if err := f.status(ctx, s, c); err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
				f.Log.Warn("write the status of a flow schema", "name", s.Name, "err", err)
			}
		})
	}
}

// dangling is the condition that says whether a schema's level is there, and whether it says something new.
func dangling(s *flowcontrol.FlowSchema, found bool, now time.Time) (flowcontrol.FlowSchemaCondition, bool) {
	const about = "This FlowSchema references the PriorityLevelConfiguration object named %q "
	c := flowcontrol.FlowSchemaCondition{Type: flowcontrol.FlowSchemaConditionDangling, LastTransitionTime: metav1.Time{Time: now.Truncate(time.Second)}}
	if found {
		c.Status, c.Reason, c.Message = flowcontrol.ConditionFalse, "Found", about+"and it exists"
	} else {
		c.Status, c.Reason, c.Message = flowcontrol.ConditionTrue, "NotFound", about+"but there is no such object"
	}
	c.Message = fmt.Sprintf(c.Message, s.Spec.PriorityLevelConfiguration.Name)
	for _, have := range s.Status.Conditions {
		if have.Type == c.Type && have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
			return c, false
		}
	}
	return c, true
}

func (f *Follower) status(ctx context.Context, s *flowcontrol.FlowSchema, c flowcontrol.FlowSchemaCondition) error {
	data, err := json.Marshal(map[string]any{
		"apiVersion": flowcontrol.SchemeGroupVersion.String(), "kind": "FlowSchema", "metadata": map[string]any{"name": s.Name, "uid": s.UID},
		"status": flowcontrol.FlowSchemaStatus{Conditions: []flowcontrol.FlowSchemaCondition{c}},
	})
	if err != nil {
		return err
	}
	t := client.TargetOf[flowcontrol.FlowSchema](object.Key{Name: s.Name})
	t.Sub = "status"
	force := true
	_, err = f.Client.Patch(ctx, t, client.Patch{Type: types.ApplyPatchType, Data: data}, metav1.PatchOptions{FieldManager: consumer, Force: &force})
	return err
}

// Ensure makes the objects that every cluster has: the mandatory ones as they have to be, the suggested ones unless somebody has changed
// them and their autoupdate annotation says "false" or nothing. Objects of older versions that nobody has touched are deleted.
func Ensure(ctx context.Context, c client.Client, v client.View) error {
	g := ensurer{ctx: ctx, client: c, view: v, wanted: map[types.NamespacedName]bool{}}
	for _, l := range kinds.SuggestedLevels() {
		g.want(l, false)
	}
	for _, s := range kinds.SuggestedSchemas() {
		g.want(s, false)
	}
	for _, l := range kinds.MandatoryLevels() {
		g.want(l, true)
	}
	for _, s := range kinds.MandatorySchemas() {
		g.want(s, true)
	}
	for _, s := range client.ListOf[flowcontrol.FlowSchema](v, client.Select{}) {
		g.unwanted(s)
	}
	for _, l := range client.ListOf[flowcontrol.PriorityLevelConfiguration](v, client.Select{}) {
		g.unwanted(l)
	}
	g.wg.Wait()
	return g.err
}

// ensurer writes what is missing, all at once: together the writes cost one or two syncs of the store's log.
type ensurer struct {
	ctx    context.Context
	client client.Client
	view   client.View
	wanted map[types.NamespacedName]bool // by resource and name
	wg     sync.WaitGroup
	mu     sync.Mutex // guards err
	err    error
}

func (g *ensurer) do(what string, o object.Object, f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.err == nil {
				g.err = fmt.Errorf("%s %s %s: %w", what, object.KindOf(o).Kind, o.GetName(), err)
			}
		}
	})
}

func (g *ensurer) want(o object.Object, mandatory bool) {
	t := client.Target{Resource: object.ResourceFor(object.KindOf(o)), Key: object.Key{Name: o.GetName()}}
	g.wanted[types.NamespacedName{Namespace: t.Resource.Resource, Name: t.Name}] = true
	have, ok := g.view.Lookup(t.Resource, t.Key)
	if !ok {
		g.do("create", o, func() error {
			_, err := g.client.Create(g.ctx, client.Target{Resource: t.Resource}, o, metav1.CreateOptions{FieldManager: producer})
			return err
		})
		return
	}
	if next, changed := revise(have, o, mandatory); changed {
		g.do("update", o, func() error {
			_, err := g.client.Update(g.ctx, t, next, metav1.UpdateOptions{FieldManager: producer})
			return err
		})
	}
}

// revise is have as it has to be, if it is not that already.
func revise(have, want object.Object, mandatory bool) (object.Object, bool) {
	said, err := strconv.ParseBool(have.GetAnnotations()[flowcontrol.AutoUpdateAnnotationKey])
	auto := mandatory || err == nil && said || err != nil && have.GetGeneration() == 1
	annotate := err != nil || said != auto
	same := sameSpec(have, want)
	if !annotate && (same || !auto) {
		return nil, false
	}
	next := have.DeepCopyObject().(object.Object)
	if auto && !same {
		switch n := next.(type) {
		case *flowcontrol.FlowSchema:
			n.Spec = want.(*flowcontrol.FlowSchema).Spec
		case *flowcontrol.PriorityLevelConfiguration:
			n.Spec = want.(*flowcontrol.PriorityLevelConfiguration).Spec
		}
	}
	if annotate {
		a := next.GetAnnotations()
		if a == nil {
			a = map[string]string{}
		}
		a[flowcontrol.AutoUpdateAnnotationKey] = strconv.FormatBool(auto)
		next.SetAnnotations(a)
	}
	return next, true
}

// sameSpec compares specs. What may be changed of the level "exempt" does not count.
func sameSpec(have, want object.Object) bool {
	switch w := want.(type) {
	case *flowcontrol.FlowSchema:
		return equality.Semantic.DeepEqual(have.(*flowcontrol.FlowSchema).Spec, w.Spec)
	case *flowcontrol.PriorityLevelConfiguration:
		h := have.(*flowcontrol.PriorityLevelConfiguration).Spec
		if w.Name == kinds.Exempt {
			h.Exempt = w.Spec.Exempt
		}
		return equality.Semantic.DeepEqual(h, w.Spec)
	}
	return true
}

// unwanted deletes an object that a former version has made and that nobody has made his own.
func (g *ensurer) unwanted(o object.Object) {
	t := client.Target{Resource: object.ResourceFor(object.KindOf(o)), Key: object.Key{Name: o.GetName()}}
	auto, err := strconv.ParseBool(o.GetAnnotations()[flowcontrol.AutoUpdateAnnotationKey])
	if g.wanted[types.NamespacedName{Namespace: t.Resource.Resource, Name: t.Name}] || err != nil || !auto {
		return
	}
	g.do("delete", o, func() error {
		uid := o.GetUID()
		return g.client.Delete(g.ctx, t, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	})
}
