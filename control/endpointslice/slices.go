package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/control"
	"proa.dev/object"
)

// ManagedBy is what the label endpointslice.kubernetes.io/managed-by says on our slices: of pods, and mirrored from Endpoints.
const (
	ManagedBy       = "endpointslice-controller.k8s.io"
	MirrorManagedBy = "endpointslicemirroring-controller.k8s.io"
	maxPerSlice     = 100
	headlessLabel   = "service.kubernetes.io/headless"
)

// group is the endpoints that may share a slice: one family, one set of ports.
type group struct {
	family    discovery.AddressType
	ports     []discovery.EndpointPort
	endpoints []discovery.Endpoint
}

// template is what all slices of one owner have in common.
type template struct {
	owner       object.Object
	service     string
	managedBy   string
	labels      map[string]string
	annotations map[string]string
}

// grouped sorts the members of svc into groups, by family and ports.
func grouped(svc *core.Service, ms []member) []group {
	var out []group
	for _, family := range families(svc) {
		byPorts := map[string]*group{}
		for _, m := range ms {
			ip := ipOf(m.pod, family)
			if ip == "" || len(m.ports) == 0 && !portless(svc) {
				continue
			}
			key := portsKey(m.ports)
			g := byPorts[key]
			if g == nil {
				g = &group{family: family, ports: m.ports}
				byPorts[key] = g
			}
			g.endpoints = append(g.endpoints, m.endpoint(svc, ip))
		}
		for _, key := range slices.Sorted(maps.Keys(byPorts)) {
			out = append(out, *byPorts[key])
		}
		if len(byPorts) == 0 {
			out = append(out, group{family: family}) // an empty slice says that there is nothing, which is not the same as not knowing
		}
	}
	return out
}

func portsKey(ports []discovery.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%s/%d/%s;", control.Or(p.Name, ""), control.Or(p.Protocol, ""), control.Or(p.Port, 0), control.Or(p.AppProtocol, ""))
	}
	return b.String()
}

// serviceTemplate is what the slices of a Service's pods have in common.
func serviceTemplate(svc *core.Service) template {
	labels := map[string]string{}
	for k, v := range svc.Labels {
		if k != discovery.LabelServiceName && k != discovery.LabelManagedBy && k != headlessLabel {
			labels[k] = v
		}
	}
	if headless(svc) {
		labels[headlessLabel] = ""
	}
	return template{owner: svc, service: svc.Name, managedBy: ManagedBy, labels: labels}
}

// planSlices says how the slices there are become those of want.
func planSlices(t template, want []group, have []*discovery.EndpointSlice) []control.Change {
	var update, create []*discovery.EndpointSlice
	spare := map[discovery.AddressType][]*discovery.EndpointSlice{} // slices that nothing of want fits in
	used := map[string]bool{}
	for _, g := range want {
		var mine []*discovery.EndpointSlice
		for _, s := range have {
			if s.AddressType == g.family && portsKey(sorted(s.Ports)) == portsKey(g.ports) && !used[s.Name] {
				used[s.Name] = true
				mine = append(mine, s)
			}
		}
		filled, rest := fill(g, mine)
		for i, eps := range filled {
			switch {
			case len(eps) == 0 && (len(g.endpoints) > 0 || i > 0):
				spare[g.family] = append(spare[g.family], mine[i])
			case !equality.Semantic.DeepEqual(eps, mine[i].Endpoints) || t.stale(mine[i]):
				n := object.Clone(mine[i])
				n.Endpoints = eps
				update = append(update, t.dress(n))
			}
		}
		if len(mine) == 0 && len(g.endpoints) == 0 {
			rest = [][]discovery.Endpoint{{}}
		}
		for _, eps := range rest {
			create = append(create, t.dress(&discovery.EndpointSlice{AddressType: g.family, Ports: emptyNotNil(g.ports), Endpoints: emptyNotNil(eps)}))
		}
	}
	for _, s := range have {
		if !used[s.Name] {
			spare[s.AddressType] = append(spare[s.AddressType], s)
		}
	}
	return changesOf(t, update, create, spare)
}

// changesOf turns a slice that is to go and one that is to come, of the same family, into one update.
func changesOf(t template, update, create []*discovery.EndpointSlice, spare map[discovery.AddressType][]*discovery.EndpointSlice) []control.Change {
	var changes []control.Change
	for _, n := range create {
		if old := spare[n.AddressType]; len(old) > 0 {
			reused := object.Clone(old[0])
			reused.Ports, reused.Endpoints = n.Ports, n.Endpoints
			update = append(update, t.dress(reused))
			spare[n.AddressType] = old[1:]
			continue
		}
		changes = append(changes, control.Change{Op: control.Create, Object: n})
	}
	for _, n := range update {
		changes = append(changes, control.Change{Op: control.Update, Object: n})
	}
	for _, family := range slices.Sorted(maps.Keys(spare)) {
		for _, s := range spare[family] {
			changes = append(changes, control.Change{Op: control.Delete, Object: s})
		}
	}
	return changes
}

func emptyNotNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func sorted(ports []discovery.EndpointPort) []discovery.EndpointPort {
	out := slices.Clone(ports)
	slices.SortFunc(out, comparePorts)
	return out
}

// fill spreads the endpoints of g over existing slices: each stays where it is, the others fill the gaps of slices that change anyway, then
// of any, and what is left over is rest. The answer has one list per slice of have.
func fill(g group, have []*discovery.EndpointSlice) (filled, rest [][]discovery.Endpoint) {
	want := map[string]discovery.Endpoint{}
	for _, e := range g.endpoints {
		want[identity(e)] = e
	}
	filled = make([][]discovery.Endpoint, len(have))
	changed := make([]bool, len(have))
	for i, s := range have {
		for _, e := range s.Endpoints {
			id := identity(e)
			n, ok := want[id]
			if !ok {
				changed[i] = true
				continue
			}
			delete(want, id)
			changed[i] = changed[i] || !equality.Semantic.DeepEqual(n, e)
			filled[i] = append(filled[i], n)
		}
	}
	var left []discovery.Endpoint
	for _, e := range g.endpoints {
		if _, ok := want[identity(e)]; ok {
			left = append(left, e)
			delete(want, identity(e))
		}
	}
	for _, only := range []bool{true, false} {
		for i := range have {
			if only && !changed[i] {
				continue
			}
			n := max(0, min(maxPerSlice-len(filled[i]), len(left)))
			filled[i] = append(filled[i], left[:n]...)
			left = left[n:]
		}
	}
	for i := range filled {
		filled[i] = emptyNotNil(filled[i])
	}
	for chunk := range slices.Chunk(left, maxPerSlice) {
		rest = append(rest, chunk)
	}
	return filled, rest
}

// identity says when two endpoints are the same one, whatever their conditions.
func identity(e discovery.Endpoint) string {
	id := strings.Join(e.Addresses, ",")
	if e.TargetRef != nil {
		id += "/" + string(e.TargetRef.UID)
	}
	return id
}

// wantLabels is the labels of every slice of t.
func (t template) wantLabels() map[string]string {
	labels := maps.Clone(t.labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discovery.LabelServiceName] = t.service
	labels[discovery.LabelManagedBy] = t.managedBy
	return labels
}

// stale says whether a slice's metadata is not as it should be.
func (t template) stale(s *discovery.EndpointSlice) bool {
	if !maps.Equal(s.Labels, t.wantLabels()) || !control.Controls(t.owner, s) {
		return true
	}
	for k, v := range t.annotations {
		if s.Annotations[k] != v {
			return true
		}
	}
	return false
}

// dress gives n, which may be changed, the metadata of t.
func (t template) dress(n *discovery.EndpointSlice) *discovery.EndpointSlice {
	if n.Name == "" {
		n.GenerateName = control.NamePrefix(t.owner.GetName())
		n.Namespace = t.owner.GetNamespace()
	}
	n.Labels = t.wantLabels()
	if len(t.annotations) > 0 {
		n.Annotations = maps.Clone(t.annotations)
	}
	n.OwnerReferences = []metav1.OwnerReference{control.RefOf(t.owner)}
	slices.SortStableFunc(n.Endpoints, func(a, b discovery.Endpoint) int { return cmp.Compare(identity(a), identity(b)) })
	return n
}
