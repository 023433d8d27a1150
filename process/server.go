package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/aggregate"
	"proa.dev/apiserver/audit"
	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/authz"
	"proa.dev/apiserver/crd"
	"proa.dev/apiserver/rest"
	"proa.dev/apiserver/usage"
	"proa.dev/client"
	"proa.dev/client/joined"
	"proa.dev/client/record"
	"proa.dev/config"
	"proa.dev/control"
	"proa.dev/control/lease"
	"proa.dev/kit/h2"
	"proa.dev/kit/prom"
	"proa.dev/kit/queue"
	"proa.dev/kit/run"
	"proa.dev/object"
	"proa.dev/pki"
	"proa.dev/store"
	"proa.dev/store/crypt"
	"proa.dev/store/etcd"
)

// Server runs a whole cluster on this machine until ctx ends: store, API, controllers, scheduler, and a node.
func Server(ctx context.Context, c *config.Config, log *slog.Logger) error {
	held, err := lock(c)
	if err != nil {
		return err
	}
	defer held.Close()
	s, err := newServer(c, log)
	if err != nil {
		return err
	}
	defer s.close()
	return run.All(ctx, s.components()...)
}

// server is what the components share.
type server struct {
	config     *config.Config
	log        *slog.Logger
	steps      *steps
	cluster    *pki.Cluster
	address    netip.Addr // of this machine, as others reach it
	store      storage
	storeSize  func() int64  // bytes of the store's file; nil where the store is elsewhere
	cert       *pki.Rotating // of the API
	nodeCert   *pki.Rotating // of the kubelet's API; nil without a node
	toKubelets *pki.Rotating // by which kubelets know the API server
	kubelets   *http.Transport
	frontProxy *pki.Rotating // by which extension API servers know it
	rbac       *authz.RBAC
	accounts   *authn.Issuer // of service account tokens
	identity   identity
	reloads    reloads
	queues     queue.Board // of the controllers
	api        *apiserver.Server
	usage      *usage.Source         // nil: others say what is used
	others     *aggregate.Aggregator // the way to extension API servers
	everything *joined.View          // what they serve, too
	node       *node                 // nil where the kubelet is switched off
	trail      *audit.Log
	crypt      *crypt.Store    // nil: nothing is encrypted
	parts      []run.Component // that only some configurations have
	closers    []func() error
}

// storage is the store and what it needs to run.
type storage interface {
	store.Store
	Run(ctx context.Context) error
}

func newServer(c *config.Config, log *slog.Logger) (*server, error) {
	s := &server{config: c, log: log, steps: newSteps(time.Now(), 3)}
	for _, build := range []func() error{s.openPKI, s.openStore, s.encrypt, s.buildAPI, s.buildNode} {
		if err := build(); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *server) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil {
			s.log.Warn("not closed cleanly", "err", err)
		}
	}
}

func (s *server) openPKI() (err error) {
	if s.address, err = nodeAddress(s.config); err != nil {
		return err
	}
	if err := os.MkdirAll(s.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if s.cluster, err = pki.Open(pkiDir(s.config)); err != nil {
		return err
	}
	s.cert, err = s.cluster.Rotating(filepath.Join(pkiDir(s.config), "apiserver.pem"), serverLeaf(s.config, s.address), s.log)
	return err
}

func (s *server) openStore() (err error) {
	e := s.config.Etcd
	if len(e.Servers) > 0 {
		s.store, err = etcd.Dial(etcd.ExternalConfig{Endpoints: e.Servers, CAFile: e.CA, CertFile: e.Cert, KeyFile: e.Key, Log: s.log})
		return err
	}
	member, err := etcd.New(etcd.Config{Dir: filepath.Join(s.config.DataDir, "etcd"), Cluster: s.cluster.Fingerprint(), Log: s.log})
	if err != nil {
		return err
	}
	s.store, s.storeSize = member, member.Size
	return nil
}

func (s *server) buildAPI() error {
	listener, err := listen(s.config.API.Listen, "api.listen")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { return stillOpen(listener.Close()) })
	if err := s.openAudit(); err != nil {
		return err
	}
	first, last, err := s.config.Network.PortRange()
	if err != nil {
		return err
	}
	checks := map[string]func(context.Context) error{}
	if s.crypt != nil {
		checks["kms-providers"] = s.crypt.Check
	}
	port := netip.MustParseAddrPort(s.config.API.Listen).Port()
	advertise := netip.AddrPortFrom(s.address, port)
	keys, err := authn.Discovery(authn.DefaultIssuer, s.cluster.ServiceAccountKeys(), "https://"+advertise.String())
	if err != nil {
		return err
	}
	if s.others, err = s.aggregator(); err != nil {
		return err
	}
	parts, err := plugins(s.config)
	if err != nil {
		return err
	}
	var streams connector
	s.api, err = apiserver.New(apiserver.Deps{
		Store: s.store, Kinds: s.kinds(), Computed: s.computed(),
		Authn: s.authenticator, Authz: s.authorizer, Issuer: s.issuer,
		Connect: &streams, Discovery: s.others.Discovery, OpenAPI: s.others.OpenAPI, Elsewhere: s.others, Routes: s.pages(keys),
		Listener: listener, TLS: s.serverTLS(), HTTP2: h2.Install,
		Custom: func(a *rest.API, v client.View, self func() client.Client, log *slog.Logger) apiserver.Custom {
			return crd.New(a, v, self, log)
		},
		Plugins:  parts,
		Without:  s.config.API.DisableAdmission,
		Services: apiserver.Services{Ranges: s.config.Network.Services, NodePorts: [2]int{first, last}, Advertise: advertise},
		Begin: []apiserver.Begin{
			{Name: "rbac/bootstrap-roles", Do: authz.Reconcile}, {Name: "start-legacy-token-tracking-controller", Do: tokenTracking},
			{Name: "dns-service", Do: s.dnsService}, {Name: "metrics-roles", Do: s.usageRole},
		},
		ClientCA: s.cluster.CAPEM(), FrontProxyCA: s.cluster.FrontProxyCAPEM(),
		Audit: s.trail, Seats: s.config.API.MaxRequests, Goaway: s.config.API.GoawayChance, Checks: checks, Log: s.log,
		Metrics: []func(*prom.Page){func(p *prom.Page) { s.reloads.write(p, s.config.Node) }, s.writeStoreSize, s.writeQueues},
	})
	if err != nil {
		return err
	}
	s.joinOthers()
	if err := s.dialKubelets(); err != nil {
		return err
	}
	s.fillUsage()
	return streams.fill(s)
}

// as is the API used as one of the cluster's own components.
func (s *server) as(component string) client.Client {
	return s.api.Local(authn.User{Name: component, Groups: []string{authn.Masters, authn.Authenticated}})
}

// components is the list of everything that runs in a server, in the order of the flow.
func (s *server) components() []run.Component {
	view := s.api.View()
	events := record.New(s.as("system:kube-controller-manager"), "controllers", "")
	scheduling := record.New(s.as("system:kube-scheduler"), "default-scheduler", s.config.Node)
	deps := control.Deps{Client: s.as("system:kube-controller-manager"), View: view, Events: events, Log: s.log, CAPEM: s.cluster.CAPEM()}
	parts := []run.Component{
		{Name: "store", Run: s.store.Run},
		{Name: "compaction", Run: etcd.Compactor{Store: s.store, Log: s.log}.Run},
		{Name: "serving certificate", Run: s.cert.Run},
		{Name: "certificate for kubelets", Run: s.toKubelets.Run},
		{Name: "certificate for extension servers", Run: s.frontProxy.Run},
		{Name: "role index", Run: s.rbac.Run},
		{Name: "API server", Run: s.api.Run},
		{Name: "steps", Run: s.follow},
		{Name: "settling", Run: func(ctx context.Context) error { return settle(ctx, s.log) }},
		{Name: "private socket", Run: (&admin{path: adminPath(s.config), steps: s.steps, images: s.images(), reencrypt: s.reencrypt}).Run},
		{Name: "events of controllers", Run: events.Run},
		{Name: "events of the scheduler", Run: scheduling.Run},
		{Name: "leader", Run: func(ctx context.Context) error {
			if err := s.ready(ctx); err != nil {
				return err
			}
			return lease.Run(ctx, lease.Deps{
				Client: deps.Client, View: view, Name: object.Key{Namespace: "kube-system", Name: "proa-control"}, Identity: s.config.Node, Log: s.log,
			}, func(ctx context.Context) error { return run.All(s.queues.With(ctx), s.leaders(deps, scheduling)...) })
		}},
	}
	parts = append(parts, s.parts...)
	parts = append(parts, s.identityParts()...)
	if s.node != nil {
		parts = append(parts, run.Component{Name: "node's certificate", Run: s.nodeCert.Run})
		parts = append(parts, s.node.components()...)
	}
	return parts
}

// ready waits until the API answers everything.
func (s *server) ready(ctx context.Context) error {
	select {
	case <-s.api.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow turns what happens into steps of the start.
func (s *server) follow(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.steps.reach("API server ready")
	if s.node == nil {
		s.steps.reach("no node on this machine")
		s.steps.reach("cluster ready")
	}
	return client.Watch(ctx, s.api.View(), func(_ client.EventType, n, _ *core.Node) {
		if n == nil || n.Name != s.config.Node {
			return
		}
		s.steps.reach("node registered")
		for _, cond := range n.Status.Conditions {
			if cond.Type == core.NodeReady && cond.Status == core.ConditionTrue {
				s.steps.reach("node Ready")
			}
		}
	})
}

// stillOpen forgives closing what a component has closed already.
func stillOpen(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listen opens a TCP port; the error names the configuration's key.
func listen(address, key string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use by another program; stop it or set %s", address, key)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (%s): %w", address, key, err)
	}
	return l, nil
}
