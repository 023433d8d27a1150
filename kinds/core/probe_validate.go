package core

import (
	"fmt"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"proa.dev/kinds/check"
)

func (c *podCheck) probes(p *field.Path, ctr *core.Container) {
	if probe := ctr.LivenessProbe; probe != nil {
		c.probe(p.Child("livenessProbe"), probe)
		c.successOnce(p.Child("livenessProbe"), probe)
	}
	if probe := ctr.ReadinessProbe; probe != nil {
		c.probe(p.Child("readinessProbe"), probe)
		if probe.TerminationGracePeriodSeconds != nil {
			c.Invalid(p.Child("readinessProbe", "terminationGracePeriodSeconds"), probe.TerminationGracePeriodSeconds,
				"must not be set for readinessProbes")
		}
	}
	if probe := ctr.StartupProbe; probe != nil {
		c.probe(p.Child("startupProbe"), probe)
		c.successOnce(p.Child("startupProbe"), probe)
	}
}

func (c *podCheck) successOnce(p *field.Path, probe *core.Probe) {
	if probe.SuccessThreshold != 1 {
		c.Invalid(p.Child("successThreshold"), probe.SuccessThreshold, "must be 1")
	}
}

func (c *podCheck) probe(p *field.Path, probe *core.Probe) {
	c.handler(p, handler{Exec: probe.Exec, HTTPGet: probe.HTTPGet, TCPSocket: probe.TCPSocket, GRPC: probe.GRPC})
	c.NonNegative(p.Child("initialDelaySeconds"), int64(probe.InitialDelaySeconds))
	c.NonNegative(p.Child("timeoutSeconds"), int64(probe.TimeoutSeconds))
	c.NonNegative(p.Child("periodSeconds"), int64(probe.PeriodSeconds))
	c.NonNegative(p.Child("successThreshold"), int64(probe.SuccessThreshold))
	c.NonNegative(p.Child("failureThreshold"), int64(probe.FailureThreshold))
	if s := probe.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		c.Invalid(p.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0")
	}
}

func (c *podCheck) lifecycle(p *field.Path, l *core.Lifecycle) {
	if l == nil {
		return
	}
	if h := l.PostStart; h != nil {
		c.handler(p.Child("postStart"), handler{Exec: h.Exec, HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, Sleep: h.Sleep})
	}
	if h := l.PreStop; h != nil {
		c.handler(p.Child("preStop"), handler{Exec: h.Exec, HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket, Sleep: h.Sleep})
	}
	if l.StopSignal != nil {
		c.stopSignal(p.Child("stopSignal"), *l.StopSignal)
	}
}

func (c *podCheck) stopSignal(p *field.Path, s core.Signal) {
	switch os := c.spec.OS; {
	case os == nil:
		c.Forbidden(p, "may not be set for containers with empty `spec.os.name`")
	case os.Name == core.Windows:
		check.OneOf(c.Errors, p, s, core.SIGKILL, core.SIGTERM)
	case os.Name == core.Linux:
		check.OneOf(c.Errors, p, s, linuxSignals...)
	}
}

var linuxSignals = []core.Signal{
	core.SIGABRT, core.SIGALRM, core.SIGBUS, core.SIGCHLD, core.SIGCLD, core.SIGCONT, core.SIGFPE, core.SIGHUP, core.SIGILL, core.SIGINT,
	core.SIGIO, core.SIGIOT, core.SIGKILL, core.SIGPIPE, core.SIGPOLL, core.SIGPROF, core.SIGPWR, core.SIGQUIT, core.SIGRTMAX,
	core.SIGRTMAXMINUS1, core.SIGRTMAXMINUS10, core.SIGRTMAXMINUS11, core.SIGRTMAXMINUS12, core.SIGRTMAXMINUS13, core.SIGRTMAXMINUS14,
	core.SIGRTMAXMINUS2, core.SIGRTMAXMINUS3, core.SIGRTMAXMINUS4, core.SIGRTMAXMINUS5, core.SIGRTMAXMINUS6, core.SIGRTMAXMINUS7,
	core.SIGRTMAXMINUS8, core.SIGRTMAXMINUS9, core.SIGRTMIN, core.SIGRTMINPLUS1, core.SIGRTMINPLUS10, core.SIGRTMINPLUS11,
	core.SIGRTMINPLUS12, core.SIGRTMINPLUS13, core.SIGRTMINPLUS14, core.SIGRTMINPLUS15, core.SIGRTMINPLUS2, core.SIGRTMINPLUS3,
	core.SIGRTMINPLUS4, core.SIGRTMINPLUS5, core.SIGRTMINPLUS6, core.SIGRTMINPLUS7, core.SIGRTMINPLUS8, core.SIGRTMINPLUS9, core.SIGSEGV,
	core.SIGSTKFLT, core.SIGSTOP, core.SIGSYS, core.SIGTERM, core.SIGTRAP, core.SIGTSTP, core.SIGTTIN, core.SIGTTOU, core.SIGURG,
	core.SIGUSR1, core.SIGUSR2, core.SIGVTALRM, core.SIGWINCH, core.SIGXCPU, core.SIGXFSZ,
}

// handler is what probes and hooks may do.
type handler struct {
	Exec      *core.ExecAction
	HTTPGet   *core.HTTPGetAction
	TCPSocket *core.TCPSocketAction
	GRPC      *core.GRPCAction
	Sleep     *core.SleepAction
}

func (c *podCheck) handler(p *field.Path, h handler) {
	n := 0
	one := func(name string, set bool, check func(p *field.Path)) {
		if !set {
			return
		}
		if n++; n > 1 {
			c.Forbidden(p.Child(name), "may not specify more than 1 handler type")
			return
		}
		check(p.Child(name))
	}
	one("exec", h.Exec != nil, func(p *field.Path) {
		if len(h.Exec.Command) == 0 {
			c.Required(p.Child("command"), "")
		}
	})
	one("httpGet", h.HTTPGet != nil, func(p *field.Path) { c.httpGet(p, h.HTTPGet) })
	one("tcpSocket", h.TCPSocket != nil, func(p *field.Path) { c.PortOrName(p.Child("port"), h.TCPSocket.Port) })
	one("grpc", h.GRPC != nil, func(p *field.Path) { c.PortOrName(p.Child("port"), intstr.FromInt32(h.GRPC.Port)) })
	one("sleep", h.Sleep != nil, func(p *field.Path) {
		if grace := c.spec.TerminationGracePeriodSeconds; grace != nil && (h.Sleep.Seconds < 0 || h.Sleep.Seconds > *grace) {
			c.Invalid(p, h.Sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
		}
	})
	if n == 0 {
		c.Required(p, "must specify a handler type")
	}
}

func (c *podCheck) httpGet(p *field.Path, a *core.HTTPGetAction) {
	if a.Path == "" {
		c.Required(p.Child("path"), "")
	}
	c.PortOrName(p.Child("port"), a.Port)
	check.OneOf(c.Errors, p.Child("scheme"), a.Scheme, core.URISchemeHTTP, core.URISchemeHTTPS)
	for _, h := range a.HTTPHeaders {
		c.Invalids(p.Child("httpHeaders"), h.Name, utilvalidation.IsHTTPHeaderName(h.Name))
	}
}
