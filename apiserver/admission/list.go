package admission

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"proa.dev/apiserver/authz"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/kit/run"
	"proa.dev/object"
)

// Deps are what admission works with.
type Deps struct {
	View      client.View
	Authz     authz.Authorizer
	Ranges    []netip.Prefix // of service addresses, the first family first; none: services get no addresses
	NodePorts [2]int         // first and last; zero: 30000-32767
	Advertise netip.AddrPort // where the API server is reached; zero: no default/kubernetes service
	Log       *slog.Logger

	// Self is the API as the server itself uses it, and Kinds is what is served now. Both are for use while requests are answered,
	// not before.
	Self  func() client.Client
	Kinds func() []*kinds.Kind
	// Merge says how the fields of a kind's objects are merged; nil where nothing is known of them.
	Merge func(*kinds.Kind) (managedfields.TypeConverter, error)
	// Meter is set by New, for the plugins.
	Meter *Meter
	// Plugins are the parts of admission that stand in folders of their own.
	Plugins []Plugin
	// Without names the steps that are left out.
	Without []string

	ClientCA, FrontProxyCA []byte // PEM; nil: not published
}

// Start is admission, and the objects that a cluster begins with.
type Start struct {
	deps      Deps
	view      client.View
	addresses *addresses
	chain     Chain
	meter     *Meter
	runs      []run.Component
}

// Plugin makes a part of admission.
type Plugin func(Deps) (Part, error)

// Part is some steps, and what runs beside them while the server does.
type Part struct {
	Steps []Step
	Run   func(ctx context.Context) error // nil: nothing
}

// order is in which order steps run: Kubernetes' own, with ours where they belong. Every step stands in it.
var order = [...]string{
	"NamespaceLifecycle", "LimitRanger", "ServiceAccount", "NodeRestriction", "TaintNodesByCondition", "PodSecurity", "Priority",
	"DefaultTolerationSeconds", "DefaultStorageClass", "StorageObjectInUseProtection", "PersistentVolumeClaimResize", "RuntimeClass",
	"CertificateApproval", "CertificateSigning", "ClusterTrustBundleAttest", "CertificateSubjectRestriction", "DefaultIngressClass",
	"PodTopologyLabels", "NodeDeclaredFeatureValidator", "PodResizeValidator", "ServiceAddresses", "RoleEscalation", "DeviceAccess", "PodCertificateSigning",
	"MutatingAdmissionPolicy", "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
}

// New checks the ranges. It starts nothing.
func New(d Deps) (*Start, error) {
	if d.View == nil {
		return nil, errors.New("admission needs a view")
	}
	a, err := newAddresses(d)
	if err != nil {
		return nil, err
	}
	d.Meter = newMeter()
	s := &Start{deps: d, view: d.View, addresses: a, meter: d.Meter}
	a.ledger = newLedger(s)
	steps := s.own()
	for _, plugin := range d.Plugins {
		part, err := plugin(d)
		if err != nil {
			return nil, err
		}
		steps = append(steps, part.Steps...)
		if wanted := func(s Step) bool { return !slices.Contains(d.Without, s.Name) }; part.Run != nil && slices.ContainsFunc(part.Steps, wanted) {
			s.runs = append(s.runs, run.Component{Name: part.Steps[0].Name, Run: part.Run})
		}
	}
	for _, step := range steps {
		if !slices.Contains(order[:], step.Name) {
			return nil, fmt.Errorf("admission step %s has no place in the order", step.Name)
		}
	}
	if steps, err = without(steps, d.Without); err != nil {
		return nil, err
	}
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Compare(slices.Index(order[:], a.Name), slices.Index(order[:], b.Name))
	})
	for i := range steps {
		steps[i].meter, steps[i].took = s.meter, new(times)
	}
	s.chain = steps
	s.runs = append(s.runs, run.Component{Name: "service addresses", Run: s.follow},
		run.Component{Name: "service ranges", Run: s.followRanges}, run.Component{Name: "IPAddresses", Run: s.keepAddresses})
	return s, nil
}

// always are the steps that are no plugins in Kubernetes: there they are part of the API itself, so they cannot be left out.
var always = [...]string{"ServiceAddresses", "RoleEscalation", "DeviceAccess", "PodCertificateSigning"}

// without leaves out the steps of these names.
func without(steps []Step, names []string) ([]Step, error) {
	for _, name := range names {
		if slices.Contains(always[:], name) || !slices.ContainsFunc(steps, func(s Step) bool { return s.Name == name }) {
			var may []string
			for _, s := range steps {
				if !slices.Contains(always[:], s.Name) {
					may = append(may, s.Name)
				}
			}
			slices.Sort(may)
			return nil, fmt.Errorf("leave out admission plugin %q (api.disableAdmission): there are %s", name, strings.Join(slices.Compact(may), ", "))
		}
	}
	return slices.DeleteFunc(steps, func(s Step) bool { return slices.Contains(names, s.Name) }), nil
}

// own is the steps that stand in this package.
func (s *Start) own() []Step {
	return []Step{
		{Name: "NamespaceLifecycle", Admit: s.namespaceLifecycle},
		{Name: "NodeRestriction", Admit: s.nodeRestriction},
		{Name: "ServiceAccount", Admit: s.serviceAccount},
		{Name: "DefaultTolerationSeconds", Admit: tolerationSeconds},
		{Name: "Priority", Admit: s.priority, Check: s.oneDefault},
		{Name: "DefaultStorageClass", Admit: s.defaultStorageClass},
		{Name: "RuntimeClass", Admit: s.runtimeClass, Check: s.runtimeOverhead},
		{Name: "ServiceAddresses", Admit: s.addresses.admit, Last: true}, // what webhooks make of a service counts
		{Name: "RoleEscalation", Admit: s.roleEscalation, Last: true},
		{Name: "DeviceAccess", Check: s.deviceAccess},
	}
}

// Chain is the steps, in the order in which they run.
func (s *Start) Chain() Chain { return s.chain }

// Run runs what stands beside the steps, until ctx ends.
func (s *Start) Run(ctx context.Context) error { return run.All(ctx, s.runs...) }

// follow keeps what services have in step with the services there are.
func (s *Start) follow(ctx context.Context) error {
	if !carries(s.view, object.ResourceOf[core.Service]()) {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.addresses.follow(ctx, s.view)
}

// Namespaces makes the namespaces that every cluster has: before anything is made in them.
func (s *Start) Namespaces(ctx context.Context, c client.Client) error { return namespaces(ctx, c) }

// Begin makes the other objects that every cluster has.
func (s *Start) Begin(ctx context.Context, c client.Client) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return priorityClasses(ctx, c, s.view) })
	g.Go(func() error { return s.kubernetesService(ctx, c) })
	g.Go(func() error { return s.serviceCIDR(ctx, c) })
	g.Go(func() error { return s.publishCAs(ctx, c) })
	return g.Wait()
}
