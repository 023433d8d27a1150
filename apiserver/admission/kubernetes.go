package admission

import (
	"context"
	"fmt"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"proa.dev/client"
	"proa.dev/object"
)

// kubernetesKey is the service by which pods find the API server.
var kubernetesKey = object.Key{Namespace: defaultNamespace, Name: "kubernetes"}

// kubernetesService makes that service, and points its endpoints to this server.
func (s *Start) kubernetesService(ctx context.Context, c client.Client) error {
	if !s.deps.Advertise.IsValid() || len(s.addresses.ranges) == 0 {
		return nil
	}
	policy := core.IPFamilyPolicySingleStack
	svc := &core.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubernetesKey.Namespace, Name: kubernetesKey.Name, Labels: map[string]string{"provider": "kubernetes", "component": "apiserver"}},
		Spec: core.ServiceSpec{
			Type: core.ServiceTypeClusterIP, ClusterIP: s.addresses.reserved.String(), IPFamilyPolicy: &policy,
			Ports: []core.ServicePort{{Name: "https", Port: 443, Protocol: core.ProtocolTCP, TargetPort: intstr.FromInt32(int32(s.deps.Advertise.Port()))}},
		},
	}
	if err := ensure(ctx, c, svc); err != nil {
		return err
	}
	if a := s.deps.Advertise.Addr(); a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		s.deps.Log.Warn("pods cannot reach the API server: its address is of this machine only", "address", a)
		return nil
	}
	ip, name, n := s.deps.Advertise.Addr().String(), "https", int32(s.deps.Advertise.Port())
	meta := metav1.ObjectMeta{Namespace: kubernetesKey.Namespace, Name: kubernetesKey.Name,
		Labels: map[string]string{discovery.LabelSkipMirror: "true"}}
	if err := place(ctx, c, &core.Endpoints{ObjectMeta: meta, Subsets: []core.EndpointSubset{{
		Addresses: []core.EndpointAddress{{IP: ip}}, Ports: []core.EndpointPort{{Name: name, Port: n, Protocol: core.ProtocolTCP}}}}},
		func(old, now *core.Endpoints) bool {
			return equality.Semantic.DeepEqual(old.Subsets, now.Subsets)
		}); err != nil {
		return err
	}
	meta.Labels = map[string]string{discovery.LabelServiceName: kubernetesKey.Name}
	family, ready, tcp := discovery.AddressTypeIPv4, true, core.ProtocolTCP
	if s.deps.Advertise.Addr().Is6() {
		family = discovery.AddressTypeIPv6
	}
	return place(ctx, c, &discovery.EndpointSlice{ObjectMeta: meta, AddressType: family,
		Endpoints: []discovery.Endpoint{{Addresses: []string{ip}, Conditions: discovery.EndpointConditions{Ready: &ready}}},
		Ports:     []discovery.EndpointPort{{Name: &name, Port: &n, Protocol: &tcp}}},
		func(old, now *discovery.EndpointSlice) bool {
			return equality.Semantic.DeepEqual(old.Endpoints, now.Endpoints) && equality.Semantic.DeepEqual(old.Ports, now.Ports)
		})
}

// place makes o what is stored under its key, unless same says that it is already.
func place[T any, P object.Ptr[T]](ctx context.Context, c client.Client, o P, same func(old, now P) bool) error {
	key := object.KeyOf(o)
	old, err := client.Get[T, P](ctx, c, key)
	switch {
	case apierrors.IsNotFound(err):
		_, err = client.Create[T, P](ctx, c, o)
	case err == nil && !same(old, o):
		_, err = client.Update[T, P](ctx, c, o)
	}
	if err != nil {
		return fmt.Errorf("write %T %s: %w", o, key, err)
	}
	return nil
}
