package controltest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	resource "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	path "k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/client"
	"proa.dev/object"
)

// Client reads and writes the objects as the API does.
func (a *API) Client() client.Client { return api{a} }

type api struct{ a *API }

func (c api) Get(_ context.Context, t client.Target) (object.Object, error) {
	if o, ok := c.a.lookup(t.Resource, t.Key); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(t.GroupResource(), t.Name)
}

func (c api) List(_ context.Context, t client.Target, opt metav1.ListOptions) (*client.List, error) {
	sel, err := labels.Parse(opt.LabelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	fieldSel, err := fields.ParseSelector(opt.FieldSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	items := c.a.list(t.Resource, func(o object.Object) bool {
		return (t.Namespace == "" || t.Namespace == o.GetNamespace()) && sel.Matches(labels.Set(o.GetLabels())) &&
			fieldSel.Matches(selectable(o))
	})
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	return &client.List{Items: items, ResourceVersion: strconv.FormatInt(c.a.rev, 10)}, nil
}

// selectable are the fields that a selector may name.
func selectable(o object.Object) fields.Set {
	out := fields.Set{"metadata.name": o.GetName()}
	if s, ok := o.(*resource.ResourceSlice); ok {
		out[resource.ResourceSliceSelectorDriver] = s.Spec.Driver
		if s.Spec.NodeName != nil {
			out[resource.ResourceSliceSelectorNodeName] = *s.Spec.NodeName
		}
	}
	return out
}

// begin asks Refuse and notes the write.
func (a *API) begin(ctx context.Context, verb string, t client.Target, o object.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	refuse := a.refuse
	a.mu.Unlock()
	if refuse != nil {
		a.asking.Lock()
		err := refuse(verb, t, o)
		a.asking.Unlock()
		if err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	what := t.Resource.Resource
	if t.Sub != "" {
		what += "/" + t.Sub
	}
	if what != "events" {
		a.writes = append(a.writes, verb+" "+what+" "+t.Key.String())
	}
	return nil
}

func (c api) Create(ctx context.Context, t client.Target, o object.Object, _ metav1.CreateOptions) (object.Object, error) {
	if t.Sub != "" {
		return c.createSub(ctx, t, o)
	}
	a := c.a
	if o.GetName() == "" {
		a.mu.Lock()
		o.SetName(o.GetGenerateName() + fmt.Sprintf("%05d", a.rev+1))
		for a.objects[t.Resource][object.KeyOf(o)].o != nil {
			o.SetName(o.GetName() + "x")
		}
		a.mu.Unlock()
	}
	t.Name = o.GetName()
	if err := a.begin(ctx, "create", t, o); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.resource(o)
	if a.objects[r][object.KeyOf(o)].o != nil {
		return nil, apierrors.NewAlreadyExists(r.GroupResource(), o.GetName())
	}
	ns, ok := a.objects[client.Resource{Version: "v1", Resource: "namespaces"}][object.Key{Name: o.GetNamespace()}]
	if ok && ns.o.GetDeletionTimestamp() != nil {
		err := apierrors.NewForbidden(r.GroupResource(), o.GetName(), fmt.Errorf("namespace %s is being terminated", o.GetNamespace()))
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: core.NamespaceTerminatingCause}}
		return nil, err
	}
	if o.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	o.SetUID("")
	o.SetGeneration(1)
	setField(o, "Status", nil)
	a.complete(o)
	a.store(r, o, nil)
	return o, nil
}

func (c api) createSub(ctx context.Context, t client.Target, o object.Object) (object.Object, error) {
	if err := c.a.begin(ctx, "create", t, o); err != nil {
		return nil, err
	}
	b, ok := o.(*core.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest("only pods/binding is known here")
	}
	return c.change(t, func(cur object.Object) error { cur.(*core.Pod).Spec.NodeName = b.Target.Name; return nil })
}

// change applies fn to a clone of the current object and stores it, unless nothing changed.
func (c api) change(t client.Target, fn func(object.Object) error) (object.Object, error) {
	a := c.a
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.objects[t.Resource][t.Key].o
	if old == nil {
		return nil, apierrors.NewNotFound(t.GroupResource(), t.Name)
	}
	o := old.DeepCopyObject().(object.Object)
	if err := fn(o); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(field(o, "Spec"), field(old, "Spec")) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
	if reflect.DeepEqual(o, old) {
		return old, nil
	}
	ns, isNS := o.(*core.Namespace)
	if o.GetDeletionTimestamp() != nil && len(o.GetFinalizers()) == 0 && (!isNS || len(ns.Spec.Finalizers) == 0) && !graceful(o) {
		a.remove(t.Resource, o)
		return o, nil
	}
	a.store(t.Resource, o, old)
	return o, nil
}

// graceful says whether o still waits for its kubelet.
func graceful(o object.Object) bool {
	_, isPod := o.(*core.Pod)
	g := o.GetDeletionGracePeriodSeconds()
	return isPod && g != nil && *g > 0
}

func (c api) Update(ctx context.Context, t client.Target, o object.Object, _ metav1.UpdateOptions) (object.Object, error) {
	if err := c.a.begin(ctx, "update", t, o); err != nil {
		return nil, err
	}
	return c.change(t, func(cur object.Object) error { return replace(t, cur, o) })
}

// replace makes cur what o says, as far as the target goes.
func replace(t client.Target, cur, o object.Object) error {
	if rv := o.GetResourceVersion(); rv != "" && rv != cur.GetResourceVersion() {
		return apierrors.NewConflict(t.GroupResource(), t.Name, fmt.Errorf("the object has been modified"))
	} else if kind := object.KindOf(cur); rv == "" && versioned(kind.Kind) {
		return apierrors.NewInvalid(kind.GroupKind(), t.Name, path.ErrorList{
			path.Invalid(path.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
	}
	if uid := o.GetUID(); uid != "" && uid != cur.GetUID() {
		return apierrors.NewConflict(t.GroupResource(), t.Name, fmt.Errorf("precondition failed: UID"))
	}
	if t.Sub == "status" {
		setField(cur, "Status", field(o, "Status"))
		return nil
	}
	status, meta := field(cur, "Status"), cur.DeepCopyObject().(object.Object)
	reflect.ValueOf(cur).Elem().Set(reflect.ValueOf(o.DeepCopyObject()).Elem())
	if t.Sub == "" || t.Sub == "finalize" {
		setField(cur, "Status", status)
	}
	cur.SetUID(meta.GetUID())
	cur.SetResourceVersion(meta.GetResourceVersion())
	cur.SetCreationTimestamp(meta.GetCreationTimestamp())
	cur.SetDeletionTimestamp(meta.GetDeletionTimestamp())
	cur.SetDeletionGracePeriodSeconds(meta.GetDeletionGracePeriodSeconds())
	cur.SetGeneration(meta.GetGeneration())
	return nil
}

func (c api) Patch(ctx context.Context, t client.Target, p client.Patch, _ metav1.PatchOptions) (object.Object, error) {
	if err := c.a.begin(ctx, "patch", t, nil); err != nil {
		return nil, err
	}
	return c.change(t, func(cur object.Object) error {
		was, err := json.Marshal(cur)
		if err != nil {
			return err
		}
		var now []byte
		switch p.Type {
		case types.StrategicMergePatchType:
			now, err = strategicpatch.StrategicMergePatch(was, p.Data, cur)
		case types.MergePatchType:
			now, err = mergePatch(was, p.Data)
		default:
			err = fmt.Errorf("patch type %s is not known here", p.Type)
		}
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		o := reflect.New(reflect.TypeOf(cur).Elem()).Interface().(object.Object)
		if err := json.Unmarshal(now, o); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
		return replace(t, cur, o)
	})
}

// mergePatch is RFC 7386.
func mergePatch(doc, patch []byte) ([]byte, error) {
	var d, p any
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	return json.Marshal(merge(d, p))
}

func merge(d, p any) any {
	pm, ok := p.(map[string]any)
	if !ok {
		return p
	}
	dm, ok := d.(map[string]any)
	if !ok {
		dm = map[string]any{}
	}
	for k, v := range pm {
		if v == nil {
			delete(dm, k)
		} else {
			dm[k] = merge(dm[k], v)
		}
	}
	return dm
}

func (c api) Delete(ctx context.Context, t client.Target, opt metav1.DeleteOptions) error {
	if err := c.a.begin(ctx, "delete", t, nil); err != nil {
		return err
	}
	_, err := c.change(t, func(o object.Object) error {
		if p := opt.Preconditions; p != nil {
			if p.UID != nil && *p.UID != o.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
				return apierrors.NewConflict(t.GroupResource(), t.Name, fmt.Errorf("precondition failed"))
			}
		}
		if pp := opt.PropagationPolicy; pp != nil && o.GetDeletionTimestamp() == nil {
			addFinalizer(o, *pp)
		}
		if o.GetDeletionTimestamp() == nil {
			at := metav1.NewTime(time.Now().Truncate(time.Second))
			o.SetDeletionTimestamp(&at)
		}
		o.SetDeletionGracePeriodSeconds(new(int64))
		if p, ok := o.(*core.Pod); ok && p.Spec.NodeName != "" && !slices.Contains([]core.PodPhase{core.PodFailed, core.PodSucceeded}, p.Status.Phase) {
			grace := int64(30)
			if opt.GracePeriodSeconds != nil {
				grace = *opt.GracePeriodSeconds
			}
			o.SetDeletionGracePeriodSeconds(&grace)
		}
		return nil
	})
	return err
}

func addFinalizer(o object.Object, p metav1.DeletionPropagation) {
	switch p {
	case metav1.DeletePropagationOrphan:
		o.SetFinalizers(append(o.GetFinalizers(), metav1.FinalizerOrphanDependents))
	case metav1.DeletePropagationForeground:
		o.SetFinalizers(append(o.GetFinalizers(), metav1.FinalizerDeleteDependents))
	}
}

func (c api) DeleteCollection(ctx context.Context, t client.Target, opt metav1.DeleteOptions, which metav1.ListOptions) error {
	l, err := c.List(ctx, t, which)
	if err != nil {
		return err
	}
	for _, o := range l.Items {
		one := t
		one.Key = object.KeyOf(o)
		if err := c.Delete(ctx, one, opt); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func field(o object.Object, name string) any {
	f := reflect.ValueOf(o).Elem().FieldByName(name)
	if !f.IsValid() {
		return nil
	}
	return f.Interface()
}

// setField sets a field of the struct that o points to; nil is the zero value. Kinds without the field stay as they are.
func setField(o object.Object, name string, v any) {
	f := reflect.ValueOf(o).Elem().FieldByName(name)
	switch {
	case !f.IsValid():
	case v == nil:
		f.SetZero()
	default:
		f.Set(reflect.ValueOf(v))
	}
}
