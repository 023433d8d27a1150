package process

import (
	"context"

	"proa.dev/apiserver/authz"
	"proa.dev/client/record"
	"proa.dev/control"
	"proa.dev/control/accounttoken"
	"proa.dev/control/attach"
	"proa.dev/control/autoscale"
	"proa.dev/control/bootstraptoken"
	"proa.dev/control/claim"
	"proa.dev/control/cronjob"
	"proa.dev/control/csr"
	"proa.dev/control/daemonset"
	"proa.dev/control/deployment"
	"proa.dev/control/devicetaint"
	"proa.dev/control/disruption"
	"proa.dev/control/endpointslice"
	"proa.dev/control/ephemeral"
	"proa.dev/control/job"
	"proa.dev/control/localvolume"
	"proa.dev/control/namespace"
	"proa.dev/control/nodelife"
	"proa.dev/control/ownergc"
	"proa.dev/control/podcertificate"
	"proa.dev/control/podcidr"
	"proa.dev/control/podgc"
	"proa.dev/control/policystatus"
	"proa.dev/control/protection"
	"proa.dev/control/replicaset"
	"proa.dev/control/resourcequota"
	"proa.dev/control/rootca"
	"proa.dev/control/serviceaccount"
	"proa.dev/control/servicecidr"
	"proa.dev/control/statefulset"
	"proa.dev/control/trustbundle"
	"proa.dev/control/volumebind"
	"proa.dev/kit/run"
	"proa.dev/scheduler"
)

// runner is the form of every controller.
type runner interface {
	Run(ctx context.Context) error
}

// controllers is the list of all controllers. A new one is a folder in control and a line here.
func (s *server) controllers() []struct {
	name string
	make func(control.Deps) (runner, error)
} {
	type list = []struct {
		name string
		make func(control.Deps) (runner, error)
	}
	return list{
		{"deployment", func(d control.Deps) (runner, error) { return deployment.New(d) }},
		{"replicaset", func(d control.Deps) (runner, error) { return replicaset.New(d) }},
		{"statefulset", func(d control.Deps) (runner, error) { return statefulset.New(d) }},
		{"daemonset", func(d control.Deps) (runner, error) { return daemonset.New(d) }},
		{"job", func(d control.Deps) (runner, error) { return job.New(d) }},
		{"cronjob", func(d control.Deps) (runner, error) { return cronjob.New(d) }},
		{"volumebind", func(d control.Deps) (runner, error) { return volumebind.New(d) }},
		{"claim", func(d control.Deps) (runner, error) { return claim.New(d) }},
		{"devicetaint", func(d control.Deps) (runner, error) { return devicetaint.New(d) }},
		{"attach", func(d control.Deps) (runner, error) { return attach.New(d) }},
		{"localvolume", func(d control.Deps) (runner, error) { return localvolume.New(d) }},
		{"ephemeral", func(d control.Deps) (runner, error) { return ephemeral.New(d) }},
		{"endpointslice", func(d control.Deps) (runner, error) { return endpointslice.New(d) }},
		{"namespace", func(d control.Deps) (runner, error) { return namespace.New(s.everywhere(d)) }},
		{"ownergc", func(d control.Deps) (runner, error) { return ownergc.New(s.everywhere(d)) }},
		{"podcidr", func(d control.Deps) (runner, error) {
			return podcidr.New(d, podcidr.Config{Ranges: s.config.Network.Pods, Server: s.config.Node})
		}},
		{"servicecidr", func(d control.Deps) (runner, error) { return servicecidr.New(d) }},
		{"podgc", func(d control.Deps) (runner, error) { return podgc.New(d) }},
		{"serviceaccount", func(d control.Deps) (runner, error) { return serviceaccount.New(d) }},
		{"autoscale", func(d control.Deps) (runner, error) {
			d, metrics, err := s.measuring(d)
			if err != nil {
				return nil, err
			}
			a := s.config.Autoscaling
			return autoscale.New(d, autoscale.Config{Metrics: metrics, Period: a.Period, Stabilization: a.Stabilization, Tolerance: a.Tolerance,
				CPUInitialization: a.CPUInitialization, ReadinessDelay: a.ReadinessDelay})
		}},
		{"policystatus", func(d control.Deps) (runner, error) { return policystatus.New(d) }},
		{"rootca", func(d control.Deps) (runner, error) { return rootca.New(d) }},
		{"resourcequota", func(d control.Deps) (runner, error) { return resourcequota.New(s.everywhere(d)) }},
		{"disruption", func(d control.Deps) (runner, error) { return disruption.New(d) }},
		{"protection", func(d control.Deps) (runner, error) { return protection.New(d) }},
		{"accounttoken", func(d control.Deps) (runner, error) {
			return accounttoken.New(d, accounttoken.Config{Sign: s.accounts.Secret})
		}},
		{"bootstraptoken", func(d control.Deps) (runner, error) { return bootstraptoken.New(d) }},
		{"csr", func(d control.Deps) (runner, error) { return csr.New(d, csr.Config{Sign: s.cluster.SignTemplate}) }},
		{"podcertificate", func(d control.Deps) (runner, error) { return podcertificate.New(d) }},
		{"trustbundle", func(d control.Deps) (runner, error) { return trustbundle.New(d) }},
		{"nodelife", func(d control.Deps) (runner, error) { return nodelife.New(d) }},
		{"clusterrole aggregation", func(d control.Deps) (runner, error) {
			return authz.Aggregator{Client: d.Client, View: d.View, Log: d.Log}, nil
		}},
	}
}

// leaders is what only the leader runs: the controllers and the scheduler.
func (s *server) leaders(d control.Deps, scheduling *record.Recorder) []run.Component {
	var parts []run.Component
	if s.config.Enabled("controllers") {
		parts = append(parts, run.Component{Name: "resources of extension API servers", Run: s.everything.Run})
		for _, c := range s.controllers() {
			if c.name == "localvolume" && !s.config.Enabled("local-volumes") {
				continue
			}
			mine := d
			mine.Events = d.Events.As(sourceOf(c.name))
			parts = append(parts, run.Component{Name: c.name, Run: func(ctx context.Context) error {
				made, err := c.make(mine)
				if err != nil {
					return err
				}
				return made.Run(ctx)
			}})
		}
	}
	if s.config.Enabled("scheduler") {
		parts = append(parts, run.Component{Name: "scheduler", Run: func(ctx context.Context) error {
			made, err := scheduler.New(scheduler.Deps{Client: s.as("system:kube-scheduler"), View: d.View, Events: scheduling, Log: d.Log})
			if err != nil {
				return err
			}
			return made.Run(ctx)
		}})
	}
	if len(parts) == 0 {
		parts = append(parts, run.Component{Name: "nothing to lead", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	}
	return parts
}

// sourceOf is the component that events of a controller name, as users of Kubernetes know it.
func sourceOf(controller string) string {
	switch controller {
	case "volumebind":
		return "persistentvolume-controller"
	case "devicetaint":
		return "device-taint-eviction"
	case "claim":
		return "resource_claim"
	case "attach":
		return "attachdetach-controller"
	case "localvolume":
		return "local.proa.dev"
	case "ephemeral":
		return "ephemeral_volume"
	case "disruption":
		return "controllermanager"
	case "autoscale":
		return "horizontal-pod-autoscaler"
	case "nodelife":
		return "node-controller"
	}
	return controller + "-controller"
}
