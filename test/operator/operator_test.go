package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	registration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clientgo "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/yaml"
)

//go:embed crd.yaml
var definition []byte

const (
	namespace = "default"
	patience  = 60 * time.Second // for anything that is to happen by itself
)

// freePort is a port of loopback that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// cluster is the configuration of a client of the cluster of KUBECONFIG, or of a proa that lives as long as the test.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		path = startServer(t)
	}
	c, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	c.QPS = -1
	return c
}

// startServer builds and runs proa's API server, and says where its kubeconfig is.
func startServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "proa")
	build := exec.Command("go", "build", "-o", bin, "./cmd/proa")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build proa: %v\n%s", err, out)
	}
	at := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("node: test\ndataDir: %[1]s/data\nrunDir: %[1]s/run\nkubeletDir: %[1]s/kubelet\npodLogs: %[1]s/pods\ncontainerLogs: %[1]s/containers\n"+
		"disable: [scheduler, controllers, kubelet, proxy, dns]\napi: {listen: %[2]q, address: %[2]q}\n", dir, at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(bin, "server", "--config", file)
	server.Stdout, server.Stderr = t.Output(), t.Output()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(os.Interrupt)
		server.Wait()
	})
	kubeconfig := filepath.Join(dir, "kubeconfig")
	await(t, "the API server", func() error {
		out, err := exec.Command(bin, "kubeconfig", "--config", file).Output()
		if err != nil {
			return err
		}
		if err := os.WriteFile(kubeconfig, out, 0o600); err != nil {
			return err
		}
		c, err := clientcmd.RESTConfigFromKubeConfig(out)
		if err != nil {
			return err
		}
		h, err := rest.HTTPClientFor(c)
		if err != nil {
			return err
		}
		resp, err := h.Get(c.Host + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %s %v", resp.Status, body, err)
		}
		return nil
	})
	return kubeconfig
}

// await tries until it comes true.
func await(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = try(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// define makes the custom kind, and waits until it is served.
func define(t *testing.T, c client.Client) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(definition, &crd.Object); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), crd); err != nil {
			t.Error(err)
		}
	})
	await(t, "the custom kind", func() error { return c.List(t.Context(), &GardenList{}) })
}

// hook is where a webhook of the operator is.
func hook(port int, path string, ca []byte) registration.WebhookClientConfig {
	return registration.WebhookClientConfig{URL: ptr.To(fmt.Sprintf("https://127.0.0.1:%d/%s-garden-example-org-v1-garden", port, path)), CABundle: ca}
}

// register tells the API server of the webhooks.
func register(t *testing.T, c client.Client, port int, ca []byte) {
	t.Helper()
	rules := []registration.RuleWithOperations{{
		Operations: []registration.OperationType{registration.Create, registration.Update, registration.Delete},
		Rule:       registration.Rule{APIGroups: []string{version.Group}, APIVersions: []string{version.Version}, Resources: []string{"gardens"}},
	}}
	none, v := ptr.To(registration.SideEffectClassNone), []string{"v1"}
	for _, o := range []client.Object{
		&registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "garden"}, Webhooks: []registration.MutatingWebhook{{
			Name: "default.garden.example.org", ClientConfig: hook(port, "mutate", ca), Rules: rules, SideEffects: none, AdmissionReviewVersions: v}}},
		&registration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "garden"}, Webhooks: []registration.ValidatingWebhook{{
			Name: "check.garden.example.org", ClientConfig: hook(port, "validate", ca), Rules: rules, SideEffects: none, AdmissionReviewVersions: v}}},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.WithoutCancel(t.Context()), o); err != nil {
				t.Error(err)
			}
		})
	}
	await(t, "the webhooks", func() error {
		g := &Garden{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}, Spec: GardenSpec{Beds: maxBeds + 1}}
		err := c.Create(t.Context(), g, client.DryRunAll)
		if want := fmt.Sprintf(`admission webhook "check.garden.example.org" denied the request: a garden has at most %d beds`, maxBeds); err == nil || err.Error() != want {
			return fmt.Errorf("a garden that is too large: %v", err)
		}
		return nil
	})
}

// running is an operator that runs.
type running struct {
	leads <-chan struct{}
	stop  func()
	port  int
}

// operate runs an operator until it is stopped.
func operate(t *testing.T, c *rest.Config, certs string) running {
	t.Helper()
	port := freePort(t)
	m, err := newManager(c, ctrl.Options{
		LeaderElection: true, LeaderElectionID: "garden.example.org", LeaderElectionNamespace: namespace, LeaderElectionReleaseOnCancel: true,
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, CertDir: certs}),
		Metrics:       metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("operator: %v", err)
		}
	}
	t.Cleanup(stop)
	return running{leads: m.Elected(), stop: stop, port: port}
}

func TestOperator(t *testing.T) {
	log.SetLogger(zap.New(zap.WriteTo(t.Output())))
	conf := cluster(t)
	if err := addGarden(clientgo.Scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(conf, client.Options{Scheme: clientgo.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	define(t, c)
	ca, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	certs := t.TempDir()
	for name, data := range map[string][]byte{"tls.crt": ca, "tls.key": key} {
		if err := os.WriteFile(filepath.Join(certs, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := operate(t, conf, certs)
	select {
	case <-first.leads:
	case <-time.After(patience):
		t.Fatal("the first operator does not lead")
	}
	second := operate(t, conf, certs)
	register(t, c, second.port, ca) // webhooks are served by those that do not lead, too

	g := &Garden{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "g", Annotations: map[string]string{keep: "yes"}}}
	if err := c.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if g.Spec.Beds != 1 || g.Labels[tended] != "yes" {
		t.Errorf("the mutating webhook has not been asked: %+v", g)
	}
	planted(t, c, 1)
	grow(t, c, 3)
	planted(t, c, 3)
	if err := c.Delete(t.Context(), bed(g, 1)); err != nil {
		t.Fatal(err)
	}
	planted(t, c, 3)
	refuse(t, "a garden does not shrink", change(t, c, func(g *Garden) { g.Spec.Beds = 2 }))
	refuse(t, "this garden is to be kept", c.Delete(t.Context(), g))

	select {
	case <-second.leads:
		t.Error("both operators lead")
	default:
	}
	first.stop()
	select {
	case <-second.leads:
	case <-time.After(patience):
		t.Fatal("the second operator does not take over")
	}
	grow(t, c, 5)
	planted(t, c, 5)

	if err := change(t, c, func(g *Garden) { delete(g.Annotations, keep) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	await(t, "the end of the garden", func() error {
		var gone Garden
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(g), &gone); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("it is still there: %v, %v", gone.Finalizers, err)
		}
		return nil
	})
}

// change changes the garden.
func change(t *testing.T, c client.Client, by func(*Garden)) (err error) {
	t.Helper()
	for range 20 { // the operator changes it as well
		var g Garden
		if err = c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "g"}, &g); err != nil {
			return err
		}
		by(&g)
		if err = c.Update(t.Context(), &g); err == nil || !strings.Contains(err.Error(), "the object has been modified") {
			return err
		}
	}
	return err
}

func grow(t *testing.T, c client.Client, beds int32) {
	t.Helper()
	if err := change(t, c, func(g *Garden) { g.Spec.Beds = beds }); err != nil {
		t.Fatal(err)
	}
}

func refuse(t *testing.T, why string, err error) {
	t.Helper()
	if err == nil || err.Error() != `admission webhook "check.garden.example.org" denied the request: `+why {
		t.Errorf("got %v, want that %s", err, why)
	}
}

// planted waits until the garden has so many beds, and says so.
func planted(t *testing.T, c client.Client, beds int32) {
	t.Helper()
	await(t, fmt.Sprintf("%d beds", beds), func() error {
		var g Garden
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "g"}, &g); err != nil {
			return err
		}
		if g.Status.Planted != beds {
			return fmt.Errorf("the status says %d", g.Status.Planted)
		}
		for n := range beds {
			var b core.ConfigMap
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(bed(&g, n)), &b); err != nil {
				return err
			}
			if owner := metav1.GetControllerOf(&b); owner == nil || owner.UID != g.UID {
				return fmt.Errorf("bed %d belongs to %v", n, owner)
			}
		}
		return nil
	})
}
