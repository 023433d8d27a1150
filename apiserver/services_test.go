package apiserver_test

import (
	"fmt"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/apitest"
)

const services = "/api/v1/namespaces/default/services"

// TestTrialServices checks that a trial takes nothing, makes up what it would have been given, and asks nobody but for node ports.
func TestTrialServices(t *testing.T) {
	s := apitest.Start(t)
	of := func(name, spec string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Service","metadata":{"name":%q},"spec":{"type":"NodePort",%s}}`, name, spec)
	}
	var got core.Service
	mustCall(t, s, 201, "POST", services+"?dryRun=All", "", of("a", `"ports":[{"port":80,"name":"x"},{"port":81,"name":"y"}]`), &got)
	if ip, x, y := got.Spec.ClusterIP, got.Spec.Ports[0].NodePort, got.Spec.Ports[1].NodePort; ip != "10.43.0.0" || x != 32769 || y != 32770 {
		t.Errorf("a trial was given %s, %d and %d", ip, x, y)
	}
	mustCall(t, s, 201, "POST", services, "", of("b", `"clusterIP":"10.43.0.77","ports":[{"port":80,"nodePort":30077}]`), nil)
	mustCall(t, s, 201, "POST", services+"?dryRun=All", "", of("c", `"clusterIP":"10.43.0.77","ports":[{"port":80}]`), nil)
	mustCall(t, s, 422, "POST", services, "", of("c", `"clusterIP":"10.43.0.77","ports":[{"port":80}]`), nil)
	mustCall(t, s, 422, "POST", services+"?dryRun=All", "", of("c", `"ports":[{"port":80,"nodePort":30077}]`), nil)
	mustCall(t, s, 422, "POST", services, "", of("c", `"ports":[{"port":80,"protocol":"UDP","nodePort":30077}]`), nil)
}

// TestClearedClusterIP checks that who takes away one of the two fields of an address keeps the address.
func TestClearedClusterIP(t *testing.T) {
	s := apitest.Start(t)
	var made, got core.Service
	mustCall(t, s, 201, "POST", services, "", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}`, &made)
	for _, patch := range []string{`{"spec":{"clusterIP":null}}`, `{"spec":{"clusterIPs":null}}`, `{"spec":{"clusterIP":null,"clusterIPs":null}}`} {
		mustCall(t, s, 200, "PATCH", services+"/a", "application/merge-patch+json", patch, &got)
		if got.Spec.ClusterIP != made.Spec.ClusterIP || len(got.Spec.ClusterIPs) != 1 {
			t.Errorf("%s: %q and %q, want %q", patch, got.Spec.ClusterIP, got.Spec.ClusterIPs, made.Spec.ClusterIP)
		}
	}
	mustCall(t, s, 422, "POST", services, "", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"},"spec":{"clusterIPs":["10.43.0.9"],"ports":[{"port":80}]}}`, nil)
}

// TestDefaultRange checks that the range of the configuration is ready, and that its status belongs to whom it belongs in Kubernetes.
func TestDefaultRange(t *testing.T) {
	s := apitest.Start(t)
	var got networking.ServiceCIDR
	mustCall(t, s, 200, "GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", "", "", &got)
	if c := got.Status.Conditions; len(c) != 1 || c[0].Type != "Ready" || c[0].Status != metav1.ConditionTrue || c[0].LastTransitionTime.IsZero() {
		t.Errorf("conditions %v", c)
	}
	owned := false
	for _, e := range got.ManagedFields {
		owned = owned || e.Manager == "kubernetes-service-cidr-controller" && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "status"
	}
	if !owned {
		t.Errorf("owners %v", got.ManagedFields)
	}
}
