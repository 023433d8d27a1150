package scheduler

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/object"
)

// cluster is the nodes and what runs on them. The loop owns it.
type cluster struct {
	view   client.View
	nodes  []*node // by id; an id stays with its node, those of deleted nodes are used again
	free   []int
	byName map[string]*node
	live   int // nodes with an object
	pods   map[types.UID]*placed
	sets   map[string]*labelSet
	terms  map[string]*heldTerm

	// changes names every node that changed, in order; the first stands for number base. A class that has seen all up to some
	// number looks at those after it only.
	changes []int32
	base    int
	shape   int // grows when topology or anti-affinity terms change, so that classes start over
}

// node is a machine. Pods may be known to be on a node before the node itself is known: then obj is nil.
type node struct {
	id      int
	name    string
	obj     *core.Node
	alloc   resources
	maxPods int
	used    resources
	pods    map[types.UID]*placed
	sets    map[*labelSet]int
	anti    map[*heldTerm]int // pods that keep others away
	wishes  map[*heldTerm]int // sums of weights
	ports   map[hostPort]int
	images  map[string]int64 // bytes by name
}

// placed is a pod that counts on a node.
type placed struct {
	pod     *core.Pod
	on      *node
	req     resources
	ports   []hostPort
	set     *labelSet
	anti    []*heldTerm
	wishes  []wish
	assumed bool // we decided so; the API has not confirmed it yet
	ghost   bool // not there: room kept for a pod that others are being evicted for
}

type hostPort struct {
	ip, protocol string
	port         int32
}

func newCluster(view client.View) *cluster {
	return &cluster{view: view, byName: map[string]*node{}, pods: map[types.UID]*placed{}, sets: map[string]*labelSet{}, terms: map[string]*heldTerm{}}
}

// touch notes that a node has changed.
func (c *cluster) touch(n *node) {
	if limit := 4*len(c.nodes) + 4096; len(c.changes) >= limit {
		half := limit / 2
		c.base += half
		c.changes = append(c.changes[:0], c.changes[half:]...)
	}
	c.changes = append(c.changes, int32(n.id))
}

// end is the number after the last change.
func (c *cluster) end() int { return c.base + len(c.changes) }

func (c *cluster) node(name string) *node {
	if n := c.byName[name]; n != nil {
		return n
	}
	n := &node{
		name: name, pods: map[types.UID]*placed{}, sets: map[*labelSet]int{}, anti: map[*heldTerm]int{}, wishes: map[*heldTerm]int{}, ports: map[hostPort]int{},
	}
	if k := len(c.free); k > 0 {
		n.id = c.free[k-1]
		c.free = c.free[:k-1]
		c.nodes[n.id] = n
	} else {
		n.id = len(c.nodes)
		c.nodes = append(c.nodes, n)
	}
	c.byName[name] = n
	return n
}

// setNode takes in a node object and says what has changed: bits of trouble that may be gone.
func (c *cluster) setNode(o *core.Node) trouble {
	n := c.node(o.Name)
	old := n.obj
	helped := trouble(0)
	switch {
	case old == nil:
		c.live++
		c.shape++ // the labels may make new domains
		helped = anything
	case !maps.Equal(old.Labels, o.Labels):
		c.shape++
		helped |= byNode | byAffinity | bySpread | byVolume
	}
	if old != nil {
		if !equality.Semantic.DeepEqual(old.Status.Allocatable, o.Status.Allocatable) {
			helped |= byResources
		}
		if old.Spec.Unschedulable != o.Spec.Unschedulable || !slices.EqualFunc(old.Spec.Taints, o.Spec.Taints, sameTaint) {
			helped |= byNode | bySpread
		}
		if helped == 0 && slices.EqualFunc(old.Status.Images, o.Status.Images, sameImage) {
			n.obj = o // a heartbeat
			return 0
		}
	}
	n.obj = o
	n.alloc = fromList(o.Status.Allocatable)
	n.maxPods = int(o.Status.Allocatable.Pods().Value())
	n.images = map[string]int64{}
	for _, i := range o.Status.Images {
		for _, name := range i.Names {
			n.images[name] = i.SizeBytes
		}
	}
	c.touch(n)
	return helped
}

func sameTaint(a, b core.Taint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
}

func sameImage(a, b core.ContainerImage) bool {
	return a.SizeBytes == b.SizeBytes && slices.Equal(a.Names, b.Names)
}

// dropNode forgets a node's object; the node itself stays while pods are on it.
func (c *cluster) dropNode(name string) {
	n := c.byName[name]
	if n == nil {
		return
	}
	if n.obj != nil {
		c.live--
	}
	n.obj = nil
	c.shape++
	c.touch(n)
	c.sweep(n)
}

func (c *cluster) sweep(n *node) {
	if n.obj == nil && len(n.pods) == 0 {
		delete(c.byName, n.name)
		c.free = append(c.free, n.id)
		c.nodes[n.id] = nil
	}
}

// place counts a pod on a node.
func (c *cluster) place(pod *core.Pod, name string) *placed {
	return c.add(&placed{pod: pod, on: c.node(name), req: requests(pod), ports: hostPorts(pod), set: c.labelSet(pod),
		anti: c.antiTerms(pod), wishes: c.wishes(pod)})
}

// placeLike is place for a pod of a class, whose parts it takes over.
func (c *cluster) placeLike(k *class, pod *core.Pod, n *node) *placed {
	p := &placed{pod: pod, on: n, req: k.req, ports: k.ports, set: k.set}
	// There is one value for equal sets and terms while a pod has them; it may have been made since the class was.
	if have := c.sets[p.set.key]; have != nil {
		p.set = have
	}
	for _, t := range k.anti {
		if have := c.terms[t.id]; have != nil {
			t = have
		}
		p.anti = append(p.anti, t)
	}
	for _, w := range k.wishes {
		if have := c.terms[w.id]; have != nil {
			w.heldTerm = have
		}
		p.wishes = append(p.wishes, w)
	}
	return c.add(p)
}

func (c *cluster) add(p *placed) *placed {
	c.pods[p.pod.UID] = p
	c.count(p, 1)
	return p
}

// remove takes a pod off its node.
func (c *cluster) remove(p *placed) {
	delete(c.pods, p.pod.UID)
	c.count(p, -1)
	c.sweep(p.on)
}

func (c *cluster) count(p *placed, sign int) {
	n := p.on
	if sign > 0 {
		n.pods[p.pod.UID] = p
	} else {
		delete(n.pods, p.pod.UID)
	}
	n.used.add(&p.req, int64(sign))
	bump(n.sets, p.set, sign)
	for _, t := range p.anti {
		bump(n.anti, t, sign)
	}
	for _, w := range p.wishes {
		bump(n.wishes, w.heldTerm, sign*w.weight)
	}
	c.refer(p, sign)
	for _, hp := range p.ports {
		bump(n.ports, hp, sign)
	}
	c.touch(n)
}

// refer counts who uses label sets and terms, and forgets those that nobody does.
func (c *cluster) refer(p *placed, sign int) {
	if p.set.pods += sign; p.set.pods == 0 {
		delete(c.sets, p.set.key)
		for _, t := range c.terms {
			delete(t.memo, p.set)
		}
	} else if sign > 0 && p.set.pods == 1 {
		c.sets[p.set.key] = p.set
	}
	for _, t := range p.anti {
		c.referTerm(t, sign)
	}
	for _, w := range p.wishes {
		c.referTerm(w.heldTerm, sign)
	}
}

func (c *cluster) referTerm(t *heldTerm, sign int) {
	if t.pods += sign; t.pods == 0 {
		delete(c.terms, t.id)
	} else if sign > 0 && t.pods == 1 && c.terms[t.id] != t {
		c.terms[t.id] = t
		c.shape++
	}
}

func bump[K comparable](m map[K]int, k K, by int) {
	if m[k] += by; m[k] == 0 {
		delete(m, k)
	}
}

func hostPorts(pod *core.Pod) (ports []hostPort) {
	add := func(cs []core.Container) {
		for i := range cs {
			for _, p := range cs[i].Ports {
				if p.HostPort > 0 {
					hp := hostPort{ip: p.HostIP, protocol: string(p.Protocol), port: p.HostPort}
					if hp.ip == "" {
						hp.ip = "0.0.0.0"
					}
					if hp.protocol == "" {
						hp.protocol = string(core.ProtocolTCP)
					}
					ports = append(ports, hp)
				}
			}
		}
	}
	add(pod.Spec.Containers)
	for i := range pod.Spec.InitContainers {
		if r := pod.Spec.InitContainers[i].RestartPolicy; r != nil && *r == core.ContainerRestartPolicyAlways {
			add(pod.Spec.InitContainers[i : i+1])
		}
	}
	return ports
}

// labelSet is what selectors look at: namespace and labels, and the controller for spreading by default. Pods of one Deployment share one.
type labelSet struct {
	namespace string
	labels    map[string]string
	owner     types.UID
	dying     bool // being deleted: not counted for spreading

	key  string
	pods int // placed ones
}

func (c *cluster) labelSet(pod *core.Pod) *labelSet {
	s := labelSet{namespace: pod.Namespace, labels: pod.Labels, owner: controller(pod), dying: pod.DeletionTimestamp != nil}
	var b strings.Builder
	b.WriteString(s.namespace)
	b.WriteByte(0)
	b.WriteString(string(s.owner))
	b.WriteString(strconv.FormatBool(s.dying))
	writeMap(&b, s.labels)
	key := b.String()
	if have := c.sets[key]; have != nil {
		return have
	}
	s.key = key
	return &s
}

func controller(o object.Object) types.UID {
	for _, r := range o.GetOwnerReferences() {
		if r.Controller != nil && *r.Controller {
			return r.UID
		}
	}
	return ""
}

func writeMap(b *strings.Builder, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b.WriteByte(0)
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(m[k])
	}
}
