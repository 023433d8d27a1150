package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/client"
	"proa.dev/kit/run"
	"proa.dev/network/nft"
	"proa.dev/object"
)

// Deps is what a Proxy needs.
type Deps struct {
	View client.View // of Services and EndpointSlices
	// NodeName is the name of the node, by which endpoints are local or not.
	NodeName string
	// PodCIDRs and ServiceCIDRs are the ranges of the whole cluster, of both families.
	PodCIDRs, ServiceCIDRs []netip.Prefix
	// Link is the link to which the service ranges are routed, so that the node itself may connect to cluster IPs, with the link's
	// address as sender: the bridge of network/cni. Empty sets no route.
	Link string
	// Own are addresses that the node serves itself, without endpoints: that of DNS.
	Own []netip.Addr
	Log *slog.Logger
}

// Proxy keeps the node's tables in step with the View.
type Proxy struct {
	deps   Deps
	site   site
	nft    *nft.Conn
	kernel *connections
	table  *table
	// owed is what a failed transaction left to forget.
	owed   stale
	synced chan struct{}

	mu      sync.Mutex // guards all below
	compare bool       // all with the kernel
	dirty   map[object.Key]bool
	wake    chan struct{} // holds a token when dirty is not empty
	slices  map[object.Key]map[string]*discovery.EndpointSlice
	home    map[object.Key]object.Key // slice -> its Service
	begun   int                       // of the two watches, how many have told everything
}

// New opens the sockets, in the network namespace of the calling thread. The kernel is left alone until Run.
func New(d Deps) (*Proxy, error) {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	conn, err := nft.Open()
	if err != nil {
		return nil, err
	}
	k, err := openConnections()
	if err != nil {
		conn.Close()
		return nil, err
	}
	at := site{node: d.NodeName, own: d.Own, families: families(d.ServiceCIDRs)}
	return &Proxy{deps: d, site: at, nft: conn, kernel: k, table: newTable(ranges{d.PodCIDRs, d.ServiceCIDRs}), synced: make(chan struct{}),
		dirty: map[object.Key]bool{}, wake: make(chan struct{}, 1), slices: map[object.Key]map[string]*discovery.EndpointSlice{}, home: map[object.Key]object.Key{}}, nil
}

// Synced is closed when the kernel holds all Services for the first time.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Run works until ctx ends. The tables stay, so that connections go on while no proxy runs.
func (p *Proxy) Run(ctx context.Context) error {
	if err := p.kernel.routeServices(p.deps.ServiceCIDRs, p.deps.Link); err != nil {
		return err
	}
	guard, err := nft.NewGuard()
	if err != nil {
		return err
	}
	return run.All(ctx,
		run.Component{Name: "watch services", Run: p.watchServices},
		run.Component{Name: "watch endpoints", Run: p.watchSlices},
		run.Component{Name: "change tables", Run: p.work},
		run.Component{Name: "guard tables", Run: func(ctx context.Context) error { return guard.Run(ctx, p.deleted) }},
	)
}

// deleted makes all due when somebody has deleted a table of ours (as restarting a firewall service does). The zero table says that
// it may have been.
func (p *Proxy) deleted(t nft.Table) {
	if t.Name != tableName && t.Name != "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compare = true
	p.signal()
}

// mustCompare says, once, that all is due.
func (p *Proxy) mustCompare() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.compare
	p.compare = false
	return was
}

// Close frees the sockets; call it after Run.
func (p *Proxy) Close() {
	p.nft.Close()
	p.kernel.close()
}

func (p *Proxy) watchServices(ctx context.Context) error {
	return client.Watch(ctx, p.deps.View, func(t client.EventType, now, _ *core.Service) {
		if t == client.Synced {
			p.begin()
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.mark(object.KeyOf(now))
	})
}

func (p *Proxy) watchSlices(ctx context.Context) error {
	return client.Watch(ctx, p.deps.View, func(t client.EventType, now, _ *discovery.EndpointSlice) {
		if t == client.Synced {
			p.begin()
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		key, ok := serviceOf(now)
		if home, known := p.home[object.KeyOf(now)]; known && (home != key || t == client.Deleted) {
			delete(p.slices[home], now.Name)
			if len(p.slices[home]) == 0 {
				delete(p.slices, home)
			}
			delete(p.home, object.KeyOf(now))
			p.mark(home)
		}
		if !ok || t == client.Deleted {
			return
		}
		if p.slices[key] == nil {
			p.slices[key] = map[string]*discovery.EndpointSlice{}
		}
		p.slices[key][now.Name] = now
		p.home[object.KeyOf(now)] = key
		p.mark(key)
	})
}

// serviceOf is the Service that a slice belongs to.
func serviceOf(s *discovery.EndpointSlice) (object.Key, bool) {
	name := s.Labels[discovery.LabelServiceName]
	return object.Key{Namespace: s.Namespace, Name: name}, name != ""
}

// mark makes a Service due; p.mu is held.
func (p *Proxy) mark(key object.Key) {
	p.dirty[key] = true
	if p.begun == 2 {
		p.signal()
	}
}

func (p *Proxy) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Proxy) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun++; p.begun == 2 {
		p.signal()
	}
}

// due takes all Services that are due, oldest first.
func (p *Proxy) due() []*job {
	p.mu.Lock()
	out := make([]*job, 0, len(p.dirty))
	for key := range p.dirty {
		j := &job{key: key}
		for _, s := range p.slices[key] {
			j.slices = append(j.slices, s)
		}
		out = append(out, j)
	}
	clear(p.dirty)
	p.mu.Unlock()
	for _, j := range out {
		j.svc, _ = client.Lookup[core.Service](p.deps.View, j.key)
	}
	slices.SortFunc(out, compareJobs)
	return out
}

// job is a Service to look at, nil if it is gone, with its slices.
type job struct {
	key    object.Key
	svc    *core.Service
	slices []*discovery.EndpointSlice
}

// compareJobs puts what is gone first, so that its frontends are free, then older before younger.
func compareJobs(a, b *job) int {
	switch {
	case a.svc == nil && b.svc == nil:
		return 0
	case a.svc == nil:
		return -1
	case b.svc == nil:
		return 1
	}
	return cmp.Or(a.svc.CreationTimestamp.Compare(b.svc.CreationTimestamp.Time),
		cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
}

// work changes the tables: all at first, then what is due. After a failure, which somebody else's changes to the tables can cause,
// it compares all again.
func (p *Proxy) work(ctx context.Context) error {
	all, delay := true, time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.wake:
		case <-after(delay):
		}
		all = p.mustCompare() || all
		err := p.once(ctx, all)
		if err != nil {
			all, delay = true, min(max(2*delay, 100*time.Millisecond), 30*time.Second)
			p.deps.Log.Error("cannot bring the service tables up to date", "err", err, "retry", delay)
			continue
		}
		all, delay = false, 0
	}
}

// after is time.After, or never for 0.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}

func (p *Proxy) once(ctx context.Context, all bool) error {
	var have map[nft.Family]nft.State
	if all {
		var err error
		if have, err = p.load(); err != nil {
			return err
		}
	}
	out := newStep()
	out.all = all
	out.stale, p.owed = p.owed, stale{}
	if n, ok := client.Lookup[core.Node](p.deps.View, object.Key{Name: p.deps.NodeName}); ok {
		p.site.zone = n.Labels[core.LabelTopologyZone]
	}
	for _, j := range p.due() {
		var want []port
		if j.svc != nil {
			want = model(j.svc, j.slices, p.site)
		}
		p.table.set(j.key, want, out)
	}
	p.table.adopted = nil
	p.mu.Lock()
	for _, key := range out.again {
		p.mark(key)
	}
	p.mu.Unlock()
	changes := out.changes()
	if all {
		changes = nil
		for f, st := range have {
			if ch := nft.Diff(st, p.table.ruleset(f)); !ch.Empty() {
				changes = append(changes, ch)
			}
		}
	}
	if len(changes) > 0 {
		if err := p.nft.Do(changes...); err != nil {
			p.owed = out.stale
			return err
		}
	}
	p.finish(ctx, out)
	return nil
}

// load reads the tables and, the first time, adopts their slots.
func (p *Proxy) load() (map[nft.Family]nft.State, error) {
	have := map[nft.Family]nft.State{}
	for _, f := range p.site.families {
		st, err := p.nft.Load(nft.Table{Family: f, Name: tableName}, servicesMap, endpointsMap, refusedMap, allowedSet, hairpinSet)
		if err != nil {
			return nil, err
		}
		have[f] = st
		if len(p.table.ports) == 0 {
			p.table.adopt(f, st)
		}
	}
	return have, nil
}

// finish does what follows a change of the tables: connections and affinity that lead to endpoints of the past are forgotten.
func (p *Proxy) finish(ctx context.Context, out *step) {
	for _, c := range out.conflicts {
		p.deps.Log.Warn("two Services want the same address and port", "front", fmt.Sprint(c.front.addr, ":", c.front.port),
			"service", c.loser.String(), "has", c.owner.String())
	}
	err := errors.Join(p.kernel.forget(out.stale.flows), forgetAffinity(p.nft, out.stale.clients))
	if err != nil && ctx.Err() == nil {
		p.deps.Log.Error("cannot forget connections to endpoints that are gone", "err", err)
	}
	select {
	case <-p.synced:
	default:
		close(p.synced)
	}
}
