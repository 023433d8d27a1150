package owners

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/object"
)

// Tracker says who owns which fields after a write. All methods may be called at once.
type Tracker struct {
	plans   *plans
	shares  *Shares
	strip   set
	walkers sync.Pool

	mu    sync.Mutex // guards known
	known map[reflect.Type]*known
}

// New makes a tracker whose sets are shared with those that shares has.
func New(shares *Shares) *Tracker {
	t := &Tracker{plans: newPlans(), shares: shares, known: map[reflect.Type]*known{}}
	t.strip = union(Without([]string{"apiVersion"}, []string{"kind"}).drop, set{{kind: field, text: "metadata", member: true, sub: Without(
		[]string{"clusterName"}, []string{"creationTimestamp"}, []string{"generation"}, []string{"managedFields"}, []string{"name"},
		[]string{"namespace"}, []string{"resourceVersion"}, []string{"selfLink"}, []string{"uid"}).drop}})
	t.walkers.New = func() any { return &walker{plans: t.plans, texts: map[string]string{}} }
	return t
}

// Write is a create or a change of an object that is no apply.
type Write struct {
	Old, New    object.Object // in the version of the request; Old is nil, or without a uid, for a create
	APIVersion  string        // that version
	Subresource string
	Manager     string
	Filter      Filter
	Now         time.Time
	// Convert makes an object of another version, in which somebody owns fields. Nil, or a nil result: there is no such version.
	Convert func(o object.Object, apiVersion string) (object.Object, error)
}

// mostUpdaters is how many managers that do not apply an object may have; ancient is who owns what the oldest of more than that owned.
const (
	mostUpdaters = 10
	ancient      = "ancient-changes"
)

// owner is one entry of managed fields.
type owner struct {
	manager, version, sub string
	applies               bool
	time                  *metav1.Time
	known                 *known // of the type that objects have in the version
	set                   set
	fields                *metav1.FieldsV1 // the set as it is stored; nil if that is to be made
}

// is says whether an entry is about the same manager: those who apply have one for all versions.
func (o *owner) is(p *owner) bool {
	return o.manager == p.manager && o.applies == p.applies && o.sub == p.sub && (o.applies || o.version == p.version)
}

// Update is the managed fields of w.New after the write. An error means that they cannot be told: those of w.Old are to be kept.
func (t *Tracker) Update(w Write) ([]metav1.ManagedFieldsEntry, error) {
	kind := reflect.TypeOf(w.New).Elem()
	k := t.knownOf(kind)
	created := w.Old == nil || w.Old.GetUID() == ""
	owners := t.before(k, &w)
	if len(owners) == 0 && !created { // an object of which nobody has written down who owns it
		return nil, nil
	}
	changed, removed, err := t.compare(w.Old, w.New)
	if err != nil {
		return nil, err
	}
	changed, removed = w.Filter.of(changed), w.Filter.of(removed)
	if owners, err = t.take(owners, &w, changed, removed); err != nil {
		return nil, err
	}
	// What is changed belongs to who has changed it.
	if own, _ := minus(w.Filter.of(changed), t.strip); len(own) > 0 {
		self := owner{manager: cmp.Or(w.Manager, "unknown"), version: w.APIVersion, sub: w.Subresource, known: k}
		i := slices.IndexFunc(owners, func(o owner) bool { return o.is(&self) })
		if i < 0 {
			i, owners = len(owners), append(owners, self)
		}
		owners[i].set, owners[i].fields = union(own, owners[i].set), nil
		owners[i].time = &metav1.Time{Time: w.Now.UTC().Truncate(time.Second)}
	}
	return t.entries(cap10(owners)), nil
}

// compare says which fields differ.
func (t *Tracker) compare(old, now object.Object) (changed, removed set, err error) {
	b := reflect.ValueOf(now).Elem()
	k := t.knownOf(b.Type())
	a := k.zero
	if old != nil {
		if a = reflect.ValueOf(old).Elem(); a.Type() != b.Type() {
			return nil, nil, fmt.Errorf("compare a %T with a %T", old, now)
		}
	}
	w := t.walkers.Get().(*walker)
	defer t.walkers.Put(w)
	return w.diff(k.root, a, b)
}

// before is who owned what before the write: what the client says, if it does, else what is stored.
func (t *Tracker) before(k *known, w *Write) []owner {
	given := w.New.GetManagedFields()
	if w.Subresource == "" {
		if given != nil && len(given) == 0 || len(given) == 1 && reflect.DeepEqual(given[0], metav1.ManagedFieldsEntry{}) {
			return nil // the documented way to stop the bookkeeping
		}
		if said, err := t.owners(k, w, given); err == nil && len(said) > 0 {
			return said
		}
	}
	if w.Old == nil {
		return nil
	}
	stored, err := t.owners(k, w, w.Old.GetManagedFields())
	if err != nil {
		return nil
	}
	return stored
}

// owners reads managed fields.
func (t *Tracker) owners(k *known, w *Write, entries []metav1.ManagedFieldsEntry) ([]owner, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	out := make([]owner, 0, len(entries)+1)
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Operation != metav1.ManagedFieldsOperationApply && e.Operation != metav1.ManagedFieldsOperationUpdate:
			return nil, errors.New("operation must be `Apply` or `Update`")
		case e.APIVersion == "":
			return nil, errors.New("apiVersion must not be empty")
		case e.FieldsType == "":
			return nil, fmt.Errorf("missing fieldsType in managed fields entry %d", i)
		case e.FieldsType != "FieldsV1":
			return nil, fmt.Errorf("invalid fieldsType %q in managed fields entry %d", e.FieldsType, i)
		}
		o := owner{manager: e.Manager, version: e.APIVersion, sub: e.Subresource, time: e.Time, applies: e.Operation == metav1.ManagedFieldsOperationApply}
		if o.known = k; o.version != w.APIVersion {
			o.known = t.knownIn(k, w, o.version)
		}
		if e.FieldsV1 != nil {
			var err error
			if o.set, o.fields, err = t.read(o.known, e.FieldsV1); err != nil {
				return nil, err
			}
		}
		if i := slices.IndexFunc(out, func(p owner) bool { return p.is(&o) }); i >= 0 {
			out[i] = o
			continue
		}
		out = append(out, o)
	}
	return out, nil
}

// knownIn is what is known of the type that the object has in another version: what is owned as a whole in one may not be in the other. It is
// k if there is no such version; what is owned there is owned no more.
func (t *Tracker) knownIn(k *known, w *Write, version string) *known {
	if w.Convert == nil {
		return k
	}
	o, err := w.Convert(w.New, version)
	if err != nil || o == nil {
		return k
	}
	return t.knownOf(reflect.TypeOf(o).Elem())
}

// take takes from the owners what the write has changed or removed. Those who have nothing left are owners no more, nor are those who own
// fields of a version that is gone.
func (t *Tracker) take(owners []owner, w *Write, changed, removed set) ([]owner, error) {
	touched := map[string]set{w.APIVersion: union(changed, removed)}
	kept := owners[:0]
	for i := range owners {
		o := owners[i]
		gone, ok := touched[o.version]
		if !ok {
			var err error
			if gone, ok, err = t.elsewhere(w, o.version); err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			touched[o.version] = gone
		}
		var less bool
		if o.set, less = minus(o.set, gone); less {
			o.fields = nil
		}
		if len(o.set) > 0 {
			kept = append(kept, o)
		}
	}
	return kept, nil
}

// elsewhere is what the write has changed or removed in the eyes of another version. ok is false if there is no such version.
func (t *Tracker) elsewhere(w *Write, version string) (touched set, ok bool, err error) {
	if w.Convert == nil {
		return nil, false, nil
	}
	var old object.Object
	if w.Old != nil {
		if old, err = w.Convert(w.Old, version); err != nil {
			return nil, false, err
		}
	}
	now, err := w.Convert(w.New, version)
	if err != nil || now == nil || old == nil && w.Old != nil {
		return nil, false, err
	}
	changed, removed, err := t.compare(old, now)
	if err != nil {
		return nil, false, err
	}
	return union(w.Filter.of(changed), w.Filter.of(removed)), true, nil
}

// cap10 makes the oldest of too many updaters one for each version.
func cap10(owners []owner) []owner {
	var updaters []string
	byName := map[string]owner{}
	left := 0
	for i := range owners {
		if !owners[i].applies {
			left++
		}
	}
	if left <= mostUpdaters {
		return owners
	}
	for _, o := range owners {
		byName[o.name()] = o
		if !o.applies {
			updaters = append(updaters, o.name())
		}
	}
	slices.SortFunc(updaters, func(a, b string) int {
		return cmp.Or(cmp.Compare(seconds(byName[a].time), seconds(byName[b].time)), cmp.Compare(a, b))
	})
	first := map[string]string{} // by version
	for _, name := range updaters {
		if left <= mostUpdaters {
			break
		}
		o := byName[name]
		bucket := owner{manager: ancient, version: o.version, known: o.known}
		one, ok := first[o.version]
		if !ok {
			first[o.version] = name
			continue
		}
		if was, ok := byName[bucket.name()]; ok {
			bucket.set = was.set
		} else {
			bucket.set = byName[one].set
			delete(byName, one)
		}
		bucket.set, bucket.time = union(o.set, bucket.set), o.time
		byName[bucket.name()] = bucket
		delete(byName, name) // be it the bucket itself: so it is in Kubernetes
		left--
	}
	out := owners[:0]
	for _, o := range byName {
		out = append(out, o)
	}
	return out
}

// name is what Kubernetes calls an owner inside; its order is that of owners of one time.
func (o *owner) name() string {
	e := metav1.ManagedFieldsEntry{Manager: o.manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: o.version, Subresource: o.sub}
	if o.applies {
		e.Operation, e.APIVersion = metav1.ManagedFieldsOperationApply, ""
	}
	b, err := json.Marshal(e)
	if err != nil {
		return o.manager
	}
	return string(b)
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// entries is owners as objects have them.
func (t *Tracker) entries(owners []owner) []metav1.ManagedFieldsEntry {
	if len(owners) == 0 {
		return nil
	}
	out := make([]metav1.ManagedFieldsEntry, len(owners))
	for i := range owners {
		o := &owners[i]
		if o.fields == nil {
			o.fields = t.write(o.known, o.set)
		}
		out[i] = metav1.ManagedFieldsEntry{Manager: o.manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: o.version,
			Time: o.time, FieldsType: "FieldsV1", FieldsV1: o.fields, Subresource: o.sub}
		if o.applies {
			out[i].Operation = metav1.ManagedFieldsOperationApply
		}
	}
	slices.SortFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)), cmp.Compare(a.Manager, b.Manager),
			cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource))
	})
	return out
}
