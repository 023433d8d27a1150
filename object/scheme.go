package object

import (
	"fmt"
	"reflect"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	resource "k8s.io/api/resource/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Scheme maps the Go types of the API groups that proa serves to their group, version and kind, and back. It is built on
// first use and must not be changed.
var Scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		core.AddToScheme, apps.AddToScheme, batch.AddToScheme, rbac.AddToScheme, authentication.AddToScheme,
		authorization.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, certificates.AddToScheme,
		coordination.AddToScheme, discovery.AddToScheme, events.AddToScheme, flowcontrol.AddToScheme,
		networking.AddToScheme, node.AddToScheme, policy.AddToScheme, resource.AddToScheme, scheduling.AddToScheme,
		storage.AddToScheme, admissionregistrationv1.AddToScheme, apiregistration.AddToScheme,
		apiextensions.AddToScheme, metrics.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(fmt.Sprintf("register API types: %v", err)) // only wrong code gets here
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return s
})

var kindCache sync.Map // reflect.Type -> schema.GroupVersionKind

// KindOf is the group, version and kind of o: of its Go type, or of its own fields where o is unstructured or its type is not in
// the scheme. A Go type that stands in several groups (Scale, ListOptions ...) has the one it was registered with first.
func KindOf(o runtime.Object) schema.GroupVersionKind {
	t := reflect.TypeOf(o)
	if gvk, ok := kindCache.Load(t); ok {
		return gvk.(schema.GroupVersionKind)
	}
	if _, ok := o.(runtime.Unstructured); ok {
		return o.GetObjectKind().GroupVersionKind()
	}
	gvks, _, err := Scheme().ObjectKinds(o)
	if err != nil {
		return o.GetObjectKind().GroupVersionKind()
	}
	kindCache.Store(t, gvks[0])
	return gvks[0]
}

// ResourceFor is the resource that serves gvk, by Kubernetes' rule for plurals: "Ingress" is "ingresses".
func ResourceFor(gvk schema.GroupVersionKind) schema.GroupVersionResource {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural
}

var resourceCache sync.Map // reflect.Type -> schema.GroupVersionResource

// ResourceOf is the resource of the Go type T.
func ResourceOf[T any, P Ptr[T]]() schema.GroupVersionResource {
	t := reflect.TypeFor[T]()
	if r, ok := resourceCache.Load(t); ok {
		return r.(schema.GroupVersionResource)
	}
	r := ResourceFor(KindOf(P(new(T))))
	resourceCache.Store(t, r)
	return r
}
