package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"

	"proa.dev/object"
)

// index is what the names of the cluster mean. Names are in lower case.
type index struct {
	changed chan struct{} // holds a token when something has changed since it was taken

	mu         sync.RWMutex      // guards all below; entries are replaced, never changed
	services   map[string]*entry // "web.shop"
	namespaces map[string]int    // how many services a namespace has
	reverse    map[netip.Addr][]string
	slices     map[object.Key]map[string]*discovery.EndpointSlice
	home       map[object.Key]object.Key // slice -> service
	objects    map[object.Key]*core.Service
}

// entry is one Service.
type entry struct {
	headless bool
	external string       // the target of an ExternalName Service, with a dot at the end
	addrs    []netip.Addr // cluster IPs, or ready endpoints of a headless Service
	ports    []portEntry
	hosts    map[string][]netip.Addr // headless: by hostname of the endpoint
}

// portEntry is one port: of a headless Service per endpoint.
type portEntry struct {
	name, proto string // "http", "tcp"
	number      uint16
	host        string // of a headless endpoint
}

func newIndex() *index {
	return &index{changed: make(chan struct{}, 1), services: map[string]*entry{}, namespaces: map[string]int{}, reverse: map[netip.Addr][]string{},
		slices: map[object.Key]map[string]*discovery.EndpointSlice{}, home: map[object.Key]object.Key{},
		objects: map[object.Key]*core.Service{}}
}

// service finds a Service by its two labels, "web.shop".
func (x *index) service(name string) *entry {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.services[name]
}

// namespace says whether there are names below <ns>.svc.
func (x *index) namespace(ns string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.namespaces[ns] > 0
}

// names are what an address is called, without the domain.
func (x *index) names(a netip.Addr) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.reverse[a]
}

func (x *index) putService(s *core.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := object.KeyOf(s)
	x.objects[key] = s
	x.rebuild(key)
}

func (x *index) takeService(s *core.Service) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := object.KeyOf(s)
	delete(x.objects, key)
	x.rebuild(key)
}

func (x *index) putSlice(s *discovery.EndpointSlice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := object.Key{Namespace: s.Namespace, Name: s.Labels[discovery.LabelServiceName]}
	if home, ok := x.home[object.KeyOf(s)]; ok && home != key {
		x.dropSlice(s, home)
	}
	if key.Name == "" {
		return
	}
	if x.slices[key] == nil {
		x.slices[key] = map[string]*discovery.EndpointSlice{}
	}
	x.slices[key][s.Name] = s
	x.home[object.KeyOf(s)] = key
	x.rebuildHeadless(key)
}

func (x *index) takeSlice(s *discovery.EndpointSlice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if home, ok := x.home[object.KeyOf(s)]; ok {
		x.dropSlice(s, home)
	}
}

func (x *index) dropSlice(s *discovery.EndpointSlice, home object.Key) {
	delete(x.home, object.KeyOf(s))
	delete(x.slices[home], s.Name)
	if len(x.slices[home]) == 0 {
		delete(x.slices, home)
	}
	x.rebuildHeadless(home)
}

// rebuildHeadless makes the entry anew if endpoints matter to it.
func (x *index) rebuildHeadless(key object.Key) {
	if s := x.objects[key]; s != nil && isHeadless(s) {
		x.rebuild(key)
	}
}

func isHeadless(s *core.Service) bool {
	return s.Spec.ClusterIP == core.ClusterIPNone && s.Spec.Type != core.ServiceTypeExternalName
}

// rebuild makes the entry of a Service anew; x.mu is held.
func (x *index) rebuild(key object.Key) {
	defer func() {
		select {
		case x.changed <- struct{}{}:
		default:
		}
	}()
	name := strings.ToLower(key.Name + "." + key.Namespace)
	if old := x.services[name]; old != nil {
		x.unname(name, old)
		delete(x.services, name)
		if x.namespaces[key.Namespace]--; x.namespaces[key.Namespace] == 0 {
			delete(x.namespaces, key.Namespace)
		}
	}
	s := x.objects[key]
	if s == nil {
		return
	}
	e := newEntry(s, x.slices[key])
	if e == nil {
		return
	}
	x.services[name] = e
	x.namespaces[key.Namespace]++
	for _, n := range e.names(name) {
		x.reverse[n.addr] = append(slices.Clone(x.reverse[n.addr]), n.name)
	}
}

// unname forgets what the addresses of an entry are called after it.
func (x *index) unname(name string, e *entry) {
	for _, n := range e.names(name) {
		left := slices.DeleteFunc(slices.Clone(x.reverse[n.addr]), func(have string) bool { return have == n.name })
		if len(left) == 0 {
			delete(x.reverse, n.addr)
		} else {
			x.reverse[n.addr] = left
		}
	}
}

type named struct {
	addr netip.Addr
	name string
}

// names are the addresses of the entry and what each is called.
func (e *entry) names(service string) []named {
	var out []named
	if !e.headless {
		for _, a := range e.addrs {
			out = append(out, named{a, service})
		}
		return out
	}
	for host, addrs := range e.hosts {
		for _, a := range addrs {
			out = append(out, named{a, host + "." + service})
		}
	}
	return out
}

func newEntry(s *core.Service, eps map[string]*discovery.EndpointSlice) *entry {
	switch {
	case s.Spec.Type == core.ServiceTypeExternalName:
		return &entry{external: strings.ToLower(strings.TrimSuffix(s.Spec.ExternalName, ".")) + "."}
	case isHeadless(s):
		return headlessEntry(s, eps)
	}
	e := &entry{}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil {
			e.addrs = append(e.addrs, a.Unmap())
		}
	}
	if len(e.addrs) == 0 {
		return nil // not allocated yet
	}
	for _, p := range s.Spec.Ports {
		e.ports = append(e.ports, portEntry{name: p.Name, proto: protoName(p.Protocol), number: uint16(p.Port)})
	}
	return e
}

func protoName(p core.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

// headlessEntry is a Service without cluster IP: its endpoints, ready ones unless it publishes all of them.
func headlessEntry(s *core.Service, eps map[string]*discovery.EndpointSlice) *entry {
	e := &entry{headless: true, hosts: map[string][]netip.Addr{}}
	seen := map[portEntry]bool{}
	for _, slice := range eps {
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			if r := ep.Conditions.Ready; r != nil && !*r && !s.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, raw := range ep.Addresses {
				a, err := netip.ParseAddr(raw)
				if err != nil {
					continue // FQDN slices
				}
				a = a.Unmap()
				host := hostOf(ep, a)
				if !slices.Contains(e.addrs, a) {
					e.addrs = append(e.addrs, a)
				}
				if !slices.Contains(e.hosts[host], a) {
					e.hosts[host] = append(e.hosts[host], a)
				}
				for _, p := range slice.Ports {
					if p.Name == nil || p.Port == nil || *p.Port <= 0 || *p.Port >= 1<<16 {
						continue
					}
					proto := core.ProtocolTCP
					if p.Protocol != nil {
						proto = *p.Protocol
					}
					pe := portEntry{strings.ToLower(*p.Name), protoName(proto), uint16(*p.Port), host}
					if !seen[pe] {
						seen[pe] = true
						e.ports = append(e.ports, pe)
					}
				}
			}
		}
	}
	slices.SortFunc(e.addrs, netip.Addr.Compare)
	return e
}

// hostOf is the label of an endpoint: its hostname, or one made of its address ("10-42-0-7").
func hostOf(ep *discovery.Endpoint, a netip.Addr) string {
	if ep.Hostname != nil && *ep.Hostname != "" {
		return strings.ToLower(*ep.Hostname)
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}
