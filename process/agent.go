package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/client"
	"proa.dev/client/remote"
	"proa.dev/config"
	"proa.dev/kinds/all"
	"proa.dev/kit/run"
	"proa.dev/kubelet"
	"proa.dev/object"
)

// agentReads are the resources that a node's kubelet, proxy, DNS and routes follow. Of the pods it follows its own. It asks for
// ConfigMaps and Secrets one by one, since a node may read only those that its pods use.
var agentReads = []string{"pods", "nodes", "services", "endpointslices", "runtimeclasses", "csidrivers"}

// Agent makes this machine a node of the cluster that c.ServerKubeconfig names, until ctx ends.
func Agent(ctx context.Context, c *config.Config, log *slog.Logger) error {
	held, err := lock(c)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	a := &agent{config: c, log: log, steps: newSteps(time.Now(), 2)}
	if err := a.readKubeconfig(); err != nil {
		return err
	}
	defer a.client.Close()
	if err := a.join(ctx); err != nil {
		return err
	}
	a.steps.reach("node registered")
	parts, err := a.components()
	if err != nil {
		return err
	}
	defer a.node.close()
	return run.All(ctx, parts...)
}

// agent is a node and its way to the server.
type agent struct {
	config *config.Config
	log    *slog.Logger
	steps  *steps
	pair   tls.Certificate // to the server, and of the kubelet's API
	roots  *x509.CertPool
	client *remote.Client
	view   *remote.View
	node   *node
}

// joining is what an agent reads of a kubeconfig: the only cluster and the only user of it.
type joining struct {
	Clusters []struct {
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		User struct {
			Cert []byte `json:"client-certificate-data"`
			Key  []byte `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

func (a *agent) readKubeconfig() error {
	path := a.config.ServerKubeconfig
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("serverKubeconfig: %w", err)
	}
	var k joining
	if err := yaml.Unmarshal(text, &k); err != nil {
		return fmt.Errorf("serverKubeconfig %s: %w", path, err)
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return fmt.Errorf("serverKubeconfig %s: want one cluster and one user, as proa kubeconfig --node=NAME prints them", path)
	}
	user := k.Users[0].User
	if a.pair, err = tls.X509KeyPair(user.Cert, user.Key); err != nil {
		return fmt.Errorf("serverKubeconfig %s: %w", path, err)
	}
	name, ok := strings.CutPrefix(a.pair.Leaf.Subject.CommonName, "system:node:")
	if !ok || !slices.Contains(a.pair.Leaf.Subject.Organization, "system:nodes") {
		return fmt.Errorf("serverKubeconfig %s: its certificate is that of %q, not of a node", path, a.pair.Leaf.Subject.CommonName)
	}
	a.config.Node = name // the server knows this machine by no other
	if !a.config.Kubelet.Address.IsValid() && len(a.pair.Leaf.IPAddresses) > 0 {
		if err := a.config.Kubelet.Address.UnmarshalText([]byte(a.pair.Leaf.IPAddresses[0].String())); err != nil {
			return fmt.Errorf("serverKubeconfig %s: %w", path, err)
		}
	}
	a.roots = x509.NewCertPool()
	if !a.roots.AppendCertsFromPEM(k.Clusters[0].Cluster.CA) {
		return fmt.Errorf("serverKubeconfig %s: no certificate-authority-data", path)
	}
	a.client, err = remote.New(remote.Config{
		Host: k.Clusters[0].Cluster.Server, UserAgent: "proa agent",
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.roots, Certificates: []tls.Certificate{a.pair}},
	})
	return err
}

// join registers the node and waits for its pod ranges, unless it has them of an earlier life. It tries until ctx ends: machines start
// in any order.
func (a *agent) join(ctx context.Context) error {
	given, err := readRanges(a.config)
	if err != nil || len(given) > 0 {
		return err
	}
	told := ""
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		n, err := a.register(ctx)
		switch {
		case err == nil && len(n.Spec.PodCIDRs) > 0:
			return writeRanges(a.config, n.Spec.PodCIDRs)
		case apierrors.IsUnauthorized(err):
			return fmt.Errorf("join the cluster: %w", err)
		case err != nil && err.Error() != told:
			told = err.Error()
			a.log.Warn("server not reached", "err", err)
		case err == nil:
			wait = min(wait, 200*time.Millisecond) // the range comes in a moment
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (a *agent) register(ctx context.Context) (*core.Node, error) {
	key := object.Key{Name: a.config.Node}
	n, err := client.Get[core.Node](ctx, a.client, key)
	if !apierrors.IsNotFound(err) {
		return n, err
	}
	labels := map[string]string{core.LabelHostname: a.config.Node, core.LabelOSStable: runtime.GOOS, core.LabelArchStable: runtime.GOARCH}
	return client.Create(ctx, a.client, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: a.config.Node, Labels: labels}})
}

// components builds the node and lists what runs.
func (a *agent) components() ([]run.Component, error) {
	var follow []object.Resource
	for _, k := range all.Kinds() {
		if slices.Contains(agentReads, k.Resource.Resource) {
			follow = append(follow, k.Resource)
		}
	}
	a.view = remote.NewView(a.client, a.log, follow...)
	a.view.Narrow(object.ResourceOf[core.Pod](), "", "spec.nodeName="+a.config.Node)
	address, err := nodeAddress(a.config)
	if err != nil {
		return nil, err
	}
	listener, err := listen(a.config.Kubelet.Listen, "kubelet.listen")
	if err != nil {
		return nil, err
	}
	a.node, err = newNode(nodeDeps{
		config: a.config, client: a.client, follower: a.client, view: a.view, address: address, log: a.log,
		serve: kubelet.ServeConfig{Listener: listener, CAs: func() *x509.CertPool { return a.roots }, TLS: &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.pair},
		}},
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return append([]run.Component{
		{Name: "objects of the server", Run: a.view.Run},
		{Name: "steps", Run: a.followNode},
		{Name: "settling", Run: func(ctx context.Context) error { return settle(ctx, a.log) }},
		{Name: "private socket", Run: (&admin{path: adminPath(a.config), steps: a.steps, images: a.node.keptImages()}).Run},
	}, a.node.components()...), nil
}

// followNode reaches the last step when the server sees the node Ready. It fails if the server, after the node's object was deleted, has
// given its pod ranges away: two nodes with the same addresses are worse than one that is down.
func (a *agent) followNode(ctx context.Context) error {
	ranges, err := readRanges(a.config)
	if err != nil {
		return err
	}
	var given []string
	for _, r := range ranges {
		given = append(given, r.String())
	}
	ctx, changed := context.WithCancelCause(ctx)
	defer changed(nil)
	err = client.Watch(ctx, a.view, func(_ client.EventType, n, _ *core.Node) {
		if n == nil || n.Name != a.config.Node {
			return
		}
		if now := n.Spec.PodCIDRs; len(now) > 0 && !slices.Equal(now, given) {
			changed(fmt.Errorf("the cluster has given node %s the pod ranges %v, its pods use %v: proa reset on this machine, then join again", n.Name, now, given))
		}
		for _, cond := range n.Status.Conditions {
			if cond.Type == core.NodeReady && cond.Status == core.ConditionTrue {
				a.steps.reach("node Ready")
			}
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
