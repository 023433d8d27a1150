package kinds

import (
	"fmt"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/object"
)

// Def is everything the API server knows of kind T. Path is required; the zero value of everything else is the common case.
type Def[T any, P object.Ptr[T]] struct {
	Path       string   // "apps/v1/deployments"; core is "v1/pods"
	Cluster    bool     // cluster-scoped
	Singular   string   // default: the kind in lower case
	Short      []string // "deploy"
	Categories []string // "all"
	Verbs      []string // default: AllVerbs
	Storage    string   // key prefix in the store without slashes; default: the resource's name
	Generation bool     // metadata.generation counts changes of the spec
	Versioned  bool     // a PUT must say which resourceVersion it changes
	Status     bool     // has a /status subresource: only it changes the status, and nothing else does it change
	Scale      *Scale[P]
	Subs       []Sub   // further subresources, for discovery; their code stands in apiserver/rest
	Also       []Other // further served versions of the same stored objects
	// Former are versions, as "certificates.k8s.io/v1beta1", in which Kubernetes stores the objects of the kind, and which are not served. On
	// the wire they are like the served one.
	Former []string

	// Virtual kinds are never stored. The API server answers them itself: the reviews, which have the verb create only, and what is made
	// when somebody asks for it, which has get and list (apiserver/rest.Computed).
	Virtual bool
	// CreateStatus keeps the status that a create brings, which else is emptied: nodes register with their status.
	CreateStatus bool

	// Default fills what the client left out. It runs on every create, update and patch result, and on what is read from the store.
	Default func(P)
	// Prepare sets what a client may not set, after Default and before validation. old is nil on create. Status and generation are
	// already taken care of by the flags above.
	Prepare func(obj, old P)
	// Asked writes down who creates the object, for kinds that keep it; before Prepare.
	Asked func(P, authentication.UserInfo)
	// PrepareStatus does for a write to /status what Prepare does for the others.
	PrepareStatus func(obj, old P)
	// Validate checks an object by itself, on create and on update; ValidateCreate checks a new object, ValidateUpdate a change, in
	// addition; ValidateStatus checks a write to /status, in place of all. Metadata is checked for every kind already.
	Validate       func(P) field.ErrorList
	ValidateCreate func(P) field.ErrorList
	ValidateUpdate func(obj, old P) field.ErrorList
	ValidateStatus func(obj, old P) field.ErrorList
	// Name checks metadata.name; default: DNS-1123 subdomain. It returns what is wrong, in apimachinery's words.
	Name func(name string, prefix bool) []string
	// Warn returns warnings for the Warning header.
	Warn func(obj, old P) []string
	// Fields are the field selectors beyond metadata.name and metadata.namespace, by their path.
	Fields func(P) map[string]string
	// Columns and Row make the table that kubectl get prints; the name and the age come first and last where Columns says so. The
	// default is Name and Age.
	Columns []Column
	Row     func(obj P, now time.Time) []any
	// Rank orders the rows of a table, the lowest first; nil: they stand in the order of the list.
	Rank func(P) int64
	// Grace says how many seconds a delete waits for the kubelet or a finaliser; nil: deleted at once. It may change the
	// object (a clone), which is stored when the answer is more than 0.
	Grace func(obj P, opt *metav1.DeleteOptions) int64
	// Orphan: by default a delete without propagation policy leaves dependents alone (replication controllers).
	Orphan bool
	// TTL: objects expire so long after their last write; 0 is never (events).
	TTL time.Duration
}

// Scale says where a kind keeps its replica count.
type Scale[P any] struct {
	Get func(P) ScaleInfo
	Set func(P, int32) // sets spec.replicas
}

// ScaleInfo is what autoscaling/v1 Scale shows.
type ScaleInfo struct {
	Spec, Status int32
	Selector     string // serialised label selector
}

// Sub describes a subresource to discovery and OpenAPI.
type Sub struct {
	Name       string // "binding"
	GVK        string // kind of the body with its group and version: "v1/Binding", "autoscaling/v1/Scale"
	Verbs      []string
	Connecting bool // streams: exec, attach, portforward, proxy, log
	// Status: a write takes the whole object and changes the status, as one to /status does.
	Status bool
	// Prepare does for a write with Status what PrepareStatus does for /status.
	Prepare func(obj, old object.Object)
	// Validate checks a write to a subresource that takes the whole object, in place of the kind's own checks; nil: nothing to check.
	Validate func(obj, old object.Object) field.ErrorList
}

// Other is one more served version of the same stored objects: autoscaling/v1 beside autoscaling/v2.
type Other struct {
	Path string // "autoscaling/v1/horizontalpodautoscalers"
	New  func() object.Object
	To   func(hub object.Object) (object.Object, error) // from the stored version
	From func(o object.Object) (object.Object, error)   // to the stored version
	// Validate checks, in the stored version, what only this version asks for, in addition; old is nil on create. Nil: nothing.
	Validate func(hub, old object.Object) field.ErrorList
	// Names are the fields that errors call otherwise in this version, by their path in the stored one.
	Names map[string]string
}

// Column heads one column of a table. Name, Type and Description as in metav1.TableColumnDefinition; Priority 1 shows with -o wide only.
type Column = metav1.TableColumnDefinition

// AllVerbs are what a kind is served with unless its Def says otherwise.
var AllVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// Kind is a Def with its type erased: what the API server works with. Functions that the Def leaves out are non-nil and do nothing.
type Kind struct {
	object.Resource
	Singular     string
	Short        []string
	Categories   []string
	Verbs        []string
	Storage      string
	Generation   bool
	Versioned    bool
	Status       bool
	Virtual      bool
	CreateStatus bool
	Orphan       bool
	TTL          time.Duration
	Scale        *Scale[object.Object]
	Subs         []Sub
	Also         []Other
	Former       []string
	Columns      []Column
	Custom       *Custom // nil: a kind with a Go type

	New            func() object.Object
	Default        func(object.Object)
	Prepare        func(obj, old object.Object)
	Asked          func(object.Object, authentication.UserInfo) // nil: the kind does not keep it
	PrepareStatus  func(obj, old object.Object)
	Validate       func(object.Object) field.ErrorList
	ValidateCreate func(object.Object) field.ErrorList
	ValidateUpdate func(obj, old object.Object) field.ErrorList
	ValidateStatus func(obj, old object.Object) field.ErrorList
	Name           func(name string, prefix bool) []string
	Warn           func(obj, old object.Object) []string
	Fields         func(object.Object) map[string]string // without metadata.name and metadata.namespace
	Row            func(obj object.Object, now time.Time) []any
	Rank           func(object.Object) int64 // nil: no order of its own
	Grace          func(obj object.Object, opt *metav1.DeleteOptions) int64
}

// Kind erases the type of d. It panics on a malformed Path: a mistake in code, found by the first test.
func (d Def[T, P]) Kind() *Kind {
	k := &Kind{
		Singular: d.Singular, Short: d.Short, Categories: d.Categories, Verbs: d.Verbs, Storage: d.Storage,
		Generation: d.Generation, Versioned: d.Versioned, Status: d.Status, Orphan: d.Orphan, TTL: d.TTL, Subs: d.Subs, Also: d.Also, Former: d.Former,
		Columns: d.Columns, Name: d.Name, Virtual: d.Virtual, CreateStatus: d.CreateStatus,
		New: func() object.Object { return P(new(T)) },
	}
	k.Resource = ParsePath(d.Path)
	k.Namespaced = !d.Cluster
	k.Kind = object.KindOf(P(new(T))).Kind
	if k.Singular == "" {
		k.Singular = strings.ToLower(k.Kind)
	}
	if k.Verbs == nil {
		k.Verbs = AllVerbs
	}
	if k.Storage == "" {
		k.Storage = k.Resource.Resource
	}
	if k.Name == nil {
		k.Name = SubdomainName
	}
	if d.Scale != nil {
		k.Scale = &Scale[object.Object]{
			Get: func(o object.Object) ScaleInfo { return d.Scale.Get(o.(P)) },
			Set: func(o object.Object, n int32) { d.Scale.Set(o.(P), n) },
		}
	}
	k.Default = one(d.Default)
	k.Prepare = two(d.Prepare)
	k.PrepareStatus = two(d.PrepareStatus)
	if d.Asked != nil {
		k.Asked = func(o object.Object, u authentication.UserInfo) { d.Asked(o.(P), u) }
	}
	k.Validate = oneTo[field.ErrorList](d.Validate)
	k.ValidateCreate = oneTo[field.ErrorList](d.ValidateCreate)
	k.ValidateUpdate = twoTo[field.ErrorList](d.ValidateUpdate)
	k.ValidateStatus = twoTo[field.ErrorList](d.ValidateStatus)
	k.Warn = twoTo[[]string](d.Warn)
	k.Fields = oneTo[map[string]string](d.Fields)
	k.Row = func(o object.Object, now time.Time) []any { return d.Row(o.(P), now) }
	if d.Row == nil {
		k.Columns, k.Row = NameAndAge, rowOfNameAndAge
	}
	if d.Rank != nil {
		k.Rank = func(o object.Object) int64 { return d.Rank(o.(P)) }
	}
	k.Grace = func(object.Object, *metav1.DeleteOptions) int64 { return 0 }
	if d.Grace != nil {
		k.Grace = func(o object.Object, opt *metav1.DeleteOptions) int64 { return d.Grace(o.(P), opt) }
	}
	return k
}

// StatusSub is the subresource of this name that writes the status; nil if there is none.
func (k *Kind) StatusSub(name string) *Sub {
	for i := range k.Subs {
		if k.Subs[i].Name == name && k.Subs[i].Status {
			return &k.Subs[i]
		}
	}
	return nil
}

// ValidateSub checks a write to the subresource of this name that takes the whole object.
func (k *Kind) ValidateSub(name string, obj, old object.Object) field.ErrorList {
	for _, s := range k.Subs {
		if s.Name == name && s.Validate != nil {
			return s.Validate(obj, old)
		}
	}
	return nil
}

func one[P object.Object](f func(P)) func(object.Object) {
	if f == nil {
		return func(object.Object) {}
	}
	return func(o object.Object) { f(o.(P)) }
}

func two[P object.Object](f func(obj, old P)) func(obj, old object.Object) {
	if f == nil {
		return func(object.Object, object.Object) {}
	}
	return func(obj, old object.Object) {
		was, _ := old.(P) // nil on create
		f(obj.(P), was)
	}
}

func oneTo[R any, P object.Object](f func(P) R) func(object.Object) R {
	if f == nil {
		return func(object.Object) (none R) { return none }
	}
	return func(o object.Object) R { return f(o.(P)) }
}

func twoTo[R any, P object.Object](f func(obj, old P) R) func(obj, old object.Object) R {
	if f == nil {
		return func(object.Object, object.Object) (none R) { return none }
	}
	return func(obj, old object.Object) R {
		was, _ := old.(P)
		return f(obj.(P), was)
	}
}

// ParsePath reads "apps/v1/deployments" or "v1/pods". It panics on anything else.
func ParsePath(path string) (r object.Resource) {
	switch p := strings.Split(path, "/"); len(p) {
	case 2:
		r.Version, r.Resource = p[0], p[1]
	case 3:
		r.Group, r.Version, r.Resource = p[0], p[1], p[2]
	default:
		panic(fmt.Sprintf("kinds: path %q is not group/version/resource", path))
	}
	return r
}
