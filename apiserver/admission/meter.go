package admission

import (
	"cmp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"proa.dev/kit/prom"
)

// Meter measures admission, for the metrics of Kubernetes' names.
type Meter struct {
	scale, hookScale *prom.Scale
	whole            times
	hooks            prom.Vec[hookKey, prom.Histogram] // without a code
	answers          prom.Vec[hookKey, atomic.Int64]
	refusals         prom.Vec[hookKey, atomic.Int64]
	failedOpen       prom.Vec[hookKey, atomic.Int64] // name and kind only
	checkScale       *prom.Scale
	checks           prom.Vec[checkKey, checked]
}

// checkKey is what is counted apart of ValidatingAdmissionPolicies.
type checkKey struct{ policy, binding, failure, action string }

// checked is how often a policy has come to something, and how long that took.
type checked struct {
	count atomic.Int64
	took  *prom.Histogram
}

// times is how long something took: by whether it was Check, by operation, and by whether it refused.
type times [2][4][2]atomic.Pointer[prom.Histogram]

// hookKey is what is counted apart of webhooks.
type hookKey struct {
	name, kind string // kind is "admit" or "validating"
	op         Operation
	rejected   bool
	code       int
	failed     bool // it could not be asked
}

func keyOf(name string, mutating bool) hookKey {
	if mutating {
		return hookKey{name: name, kind: "admit"}
	}
	return hookKey{name: name, kind: "validating"}
}

func newMeter() *Meter {
	return &Meter{scale: prom.Seconds(0.005, 0.025, 0.1, 0.5, 1, 2.5), hookScale: prom.Seconds(0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 25),
		checkScale: prom.Seconds(0.0000005, 0.001, 0.01, 0.1, 1)}
}

func (op Operation) index() int {
	switch op {
	case Create:
		return 0
	case Update:
		return 1
	case Delete:
		return 2
	}
	return 3
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add counts what has taken from one moment to another.
func (t *times) add(scale *prom.Scale, check bool, op Operation, err error, took time.Duration) {
	at := &t[bit(check)][op.index()][bit(err != nil)]
	h := at.Load()
	if h == nil {
		at.CompareAndSwap(nil, scale.New())
		h = at.Load()
	}
	h.Add(int64(took))
}

// stopwatch measures the steps of one run through the chain, one look at the clock a step.
type stopwatch struct {
	meter       *Meter
	check       bool
	op          Operation
	began, last time.Time
}

func (c Chain) watch(check bool, op Operation) stopwatch {
	w := stopwatch{check: check, op: op}
	if len(c) > 0 && c[0].meter != nil {
		w.meter, w.began = c[0].meter, time.Now()
		w.last = w.began
	}
	return w
}

// step has been run.
func (w *stopwatch) step(s *Step, err error) {
	if w.meter == nil {
		return
	}
	now := time.Now()
	s.took.add(w.meter.scale, w.check, w.op, err, now.Sub(w.last))
	w.last = now
}

// end ends the run.
func (w *stopwatch) end(err error) {
	if w.meter != nil {
		w.meter.whole.add(w.meter.scale, w.check, w.op, err, w.last.Sub(w.began))
	}
}

// Answer is how one call of a webhook went.
type Answer struct {
	Code     int  // 200, or what was refused with
	Failed   bool // it could not be asked
	Rejected bool // and so the request was refused
}

// Hook counts one call of a webhook.
func (m *Meter) Hook(name string, mutating bool, op Operation, took time.Duration, a Answer) {
	if m == nil {
		return
	}
	k := keyOf(name, mutating)
	k.op, k.rejected = op, a.Rejected
	m.hooks.Get(k, m.hookScale.New).Add(int64(took))
	k.code = min(a.Code, 600)
	m.answers.Get(k, nil).Add(1)
	if k.failed = a.Failed; a.Rejected {
		m.refusals.Get(k, nil).Add(1)
	}
}

// FailedOpen counts a webhook that could not be asked, and that this did not matter.
func (m *Meter) FailedOpen(name string, mutating bool) {
	if m != nil {
		m.failedOpen.Get(keyOf(name, mutating), nil).Add(1)
	}
}

// Policy counts what a binding of a policy does about one expression that does not hold: "deny", "audit" or "warn", or "allow" where it
// could not be evaluated and that does not matter.
func (m *Meter) Policy(policy, binding, action, message string, took time.Duration) {
	if m == nil {
		return
	}
	failure := "invalid_error"
	switch { // as Kubernetes tells them apart
	case strings.HasPrefix(message, "compilation"):
		failure = "compile_error"
	case strings.HasPrefix(message, "validation failed due to running out of cost budget"):
		failure = "out_of_budget"
	}
	c := m.checks.Get(checkKey{policy, binding, failure, action}, func() *checked { return &checked{took: m.checkScale.New()} })
	c.count.Add(1)
	c.took.Add(int64(took))
}

// WriteMetrics writes what has been measured.
func (s *Start) WriteMetrics(p *prom.Page) {
	m := s.meter
	p.Head("apiserver_admission_step_admission_duration_seconds", "histogram", "[STABLE] How long the whole of admission took, before validation (admit) and after it (validate).")
	m.whole.write(p, "")
	p.Head("apiserver_admission_controller_admission_duration_seconds", "histogram", "[STABLE] How long each step of admission took.")
	for i := range s.chain {
		s.chain[i].took.write(p, s.chain[i].Name)
	}
	m.writeHooks(p)
	m.writePolicies(p)
}

func (t *times) write(p *prom.Page, name string) {
	for check, kind := range [...]string{"admit", "validate"} {
		for i, op := range [...]Operation{Create, Update, Delete, Connect} {
			for rejected := range 2 {
				h := t[check][i][rejected].Load()
				pairs := []string{"operation", string(op), "rejected", strconv.FormatBool(rejected == 1), "type", kind}
				if name != "" {
					pairs = append([]string{"name", name}, pairs...)
				}
				if h != nil {
					p.Histogram(prom.Labels(pairs...), h)
				}
			}
		}
	}
}

func (k hookKey) compare(l hookKey) int {
	return cmp.Or(strings.Compare(k.name, l.name), strings.Compare(k.kind, l.kind), strings.Compare(string(k.op), string(l.op)), cmp.Compare(k.code, l.code),
		cmp.Compare(bit(k.rejected), bit(l.rejected)), cmp.Compare(bit(k.failed), bit(l.failed)))
}

func (m *Meter) writeHooks(p *prom.Page) {
	p.Head("apiserver_admission_webhook_admission_duration_seconds", "histogram", "[STABLE] How long webhooks took to answer.")
	m.hooks.Each(hookKey.compare, func(k hookKey, h *prom.Histogram) {
		p.Histogram(prom.Labels("name", k.name, "operation", string(k.op), "rejected", strconv.FormatBool(k.rejected), "type", k.kind), h)
	})
	p.Head("apiserver_admission_webhook_request_total", "counter", "Answers of webhooks.")
	m.answers.Each(hookKey.compare, func(k hookKey, n *atomic.Int64) {
		p.Value(prom.Labels("code", strconv.Itoa(k.code), "name", k.name, "operation", string(k.op), "rejected", strconv.FormatBool(k.rejected), "type", k.kind), float64(n.Load()))
	})
	p.Head("apiserver_admission_webhook_rejection_count", "counter", "Requests that webhooks have refused, and those refused because one could not be asked.")
	m.refusals.Each(hookKey.compare, func(k hookKey, n *atomic.Int64) {
		why := "no_error"
		if k.failed {
			why = "calling_webhook_error"
		}
		p.Value(prom.Labels("error_type", why, "name", k.name, "operation", string(k.op), "rejection_code", strconv.Itoa(k.code), "type", k.kind), float64(n.Load()))
	})
	p.Head("apiserver_admission_webhook_fail_open_count", "counter", "Requests that went on although a webhook could not be asked.")
	m.failedOpen.Each(hookKey.compare, func(k hookKey, n *atomic.Int64) {
		p.Value(prom.Labels("name", k.name, "type", k.kind), float64(n.Load()))
	})
}

func (k checkKey) compare(l checkKey) int {
	return cmp.Or(strings.Compare(k.policy, l.policy), strings.Compare(k.binding, l.binding), strings.Compare(k.failure, l.failure), strings.Compare(k.action, l.action))
}

func (k checkKey) labels() string {
	return prom.Labels("enforcement_action", k.action, "error_type", k.failure, "policy", k.policy, "policy_binding", k.binding)
}

func (m *Meter) writePolicies(p *prom.Page) {
	p.Head("apiserver_validating_admission_policy_check_total", "counter", "[BETA] What policies have done about expressions that do not hold.")
	m.checks.Each(checkKey.compare, func(k checkKey, c *checked) { p.Value(k.labels(), float64(c.count.Load())) })
	p.Head("apiserver_validating_admission_policy_check_duration_seconds", "histogram", "[BETA] How long the evaluation of such an expression took.")
	m.checks.Each(checkKey.compare, func(k checkKey, c *checked) { p.Histogram(k.labels(), c.took) })
}
