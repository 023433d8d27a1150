package flow

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	flowcontrol "k8s.io/api/flowcontrol/v1"

	kinds "proa.dev/kinds/flowcontrol"
)

// full is a Sharer with everything that a cluster begins with.
func full(seats int) *Sharer {
	s := New(seats)
	s.Configure(append(kinds.MandatorySchemas(), kinds.SuggestedSchemas()...), append(kinds.MandatoryLevels(), kinds.SuggestedLevels()...))
	return s
}

var authenticated = []string{"system:authenticated"}

func TestClassify(t *testing.T) {
	s := full(600)
	list := func(user, group, resource, ns string, groups ...string) Request {
		return Request{User: user, Groups: append(groups, authenticated...), Verb: "list", Resource: true, Group: group, Name: resource, Namespace: ns}
	}
	probe := Request{User: "system:anonymous", Groups: []string{"system:unauthenticated"}, Verb: "get", Path: "/readyz"}
	deep := probe
	deep.Path = "/readyz/etcd"
	lease := list("system:kube-scheduler", "coordination.k8s.io", "leases", "kube-system")
	lease.Verb = "update"
	status := list("system:node:n1", "", "nodes", "", "system:nodes")
	status.Verb, status.Sub = "patch", "status"
	for _, tt := range []struct {
		r                 Request
		wantSchema, level string
	}{
		{list("admin", "", "pods", "", "system:masters"), "exempt", "exempt"},
		{probe, "probes", "exempt"},
		{deep, "global-default", "global-default"},
		{lease, "system-leader-election", "leader-election"},
		{list("system:kube-scheduler", "", "pods", ""), "kube-scheduler", "workload-high"},
		{status, "system-node-high", "node-high"},
		{list("system:node:n1", "", "pods", "", "system:nodes"), "system-nodes", "system"},
		{list("system:serviceaccount:kube-system:x", "", "pods", "", "system:serviceaccounts"), "kube-system-service-accounts", "workload-high"},
		{list("system:serviceaccount:a:x", "", "pods", "", "system:serviceaccounts"), "service-accounts", "workload-low"},
		{list("alice", "apps", "deployments", "a"), "global-default", "global-default"},
		{Request{User: "x", Verb: "get", Path: "/version"}, "catch-all", "catch-all"},
	} {
		if p := s.Classify(&tt.r); p.schema.name != tt.wantSchema || p.schema.level.name != tt.level {
			t.Errorf("%+v: %s in %s, want %s in %s", tt.r, p.schema.name, p.schema.level.name, tt.wantSchema, tt.level)
		}
	}
}

func TestRules(t *testing.T) {
	schema := &flowcontrol.FlowSchema{}
	schema.Spec.Rules = []flowcontrol.PolicyRulesWithSubjects{{
		Subjects: []flowcontrol.Subject{{Kind: "User", User: &flowcontrol.UserSubject{Name: "*"}}},
		ResourceRules: []flowcontrol.ResourcePolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"apps"},
			Resources: []string{"deployments", "deployments/scale"}, Namespaces: []string{"a"}}},
		NonResourceRules: []flowcontrol.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"/x/*", "/y"}}},
	}}
	s := New(10)
	c := compile([]*flowcontrol.FlowSchema{schema}, s.seed)[0]
	base := Request{User: "u", Verb: "get", Resource: true, Group: "apps", Name: "deployments", Namespace: "a"}
	with := func(f func(*Request)) Request { r := base; f(&r); return r }
	for _, tt := range []struct {
		name string
		r    Request
		want bool
	}{
		{"as it says", base, true},
		{"a subresource that is named", with(func(r *Request) { r.Sub = "scale" }), true},
		{"another one", with(func(r *Request) { r.Sub = "status" }), false},
		{"another namespace", with(func(r *Request) { r.Namespace = "b" }), false},
		{"no namespace", with(func(r *Request) { r.Namespace = "" }), false},
		{"another verb", with(func(r *Request) { r.Verb = "list" }), false},
		{"another group", with(func(r *Request) { r.Group = "" }), false},
		{"a path", Request{User: "u", Verb: "post", Path: "/y"}, true},
		{"below a path", Request{User: "u", Verb: "post", Path: "/x/1/2"}, true},
		{"not below", Request{User: "u", Verb: "post", Path: "/x"}, false},
	} {
		if got := c.matches(&tt.r); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// little is a Sharer whose catch-all level takes everybody, in queues.
func little(seats int) *Sharer {
	s := New(seats)
	l := kinds.SuggestedLevels()[5] // global-default
	schemas := kinds.SuggestedSchemas()
	s.Configure(schemas[len(schemas)-1:], []*flowcontrol.PriorityLevelConfiguration{l})
	return s
}

func request(user string) *Request {
	return &Request{User: user, Groups: authenticated, Verb: "get", Resource: true, Name: "pods", Namespace: "a"}
}

func enter(ctx context.Context, s *Sharer, user string, wait time.Duration) (Ticket, error) {
	r := request(user)
	return s.Enter(ctx, s.Classify(r), r, Work{Seats: 1}, wait)
}

// Who waits too long is refused, and who is let in meanwhile is not; nothing is left over at the end.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := little(5)
		var held []Ticket
		for {
			ticket, err := enter(t.Context(), s, "a", 0)
			if err != nil {
				if r, ok := IsRefused(err); !ok || r.Reason != "time-out" || r.RetryAfter != 1 {
					t.Fatalf("refused with %v", err)
				}
				break
			}
			held = append(held, ticket)
		}
		if len(held) < 3 || len(held) > 6 {
			t.Fatalf("%d requests run at once, want about 5", len(held))
		}
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			ticket, err := enter(t.Context(), s, "b", time.Minute)
			if err != nil {
				t.Errorf("b: %v", err)
				return
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("b waited %s", took)
			}
			ticket.Leave()
		})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := enter(ctx, s, "c", time.Minute); err == nil {
				t.Error("c was let in after its time")
			}
		})
		time.Sleep(time.Second)
		for i := range held {
			held[i].Leave()
			held[i].Leave() // a second time does nothing
		}
		wg.Wait()
		for _, l := range s.now.Load().levels {
			if l.running != 0 || l.waiting != 0 || l.seats != 0 || l.active != 0 {
				t.Errorf("%s is not empty: %+v", l.name, l)
			}
		}
	})
}

// Load makes levels borrow, and without load no timer is left.
func TestSeatsAreLentWhileThereIsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := full(100)
		of := func() (limit int) {
			for _, l := range s.now.Load().levels {
				if l.name == "global-default" {
					return l.limit
				}
			}
			return 0
		}
		before := of()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 90 {
			wg.Go(func() {
				for ctx.Err() == nil {
					ticket, err := enter(ctx, s, "a", time.Minute)
					if err != nil {
						time.Sleep(time.Second)
						continue
					}
					time.Sleep(50 * time.Millisecond)
					ticket.Leave()
				}
			})
		}
		time.Sleep(25 * time.Second)
		if during := of(); during < 2*before {
			t.Errorf("with 90 clients %d seats, and %d before", during, before)
		}
		cancel()
		wg.Wait()
		time.Sleep(2 * time.Hour)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lent || of() != before {
			t.Errorf("without load: timer %v, %d seats, want %d", s.lent, of(), before)
		}
	})
}

// A change of the objects keeps who runs and who waits.
func TestConfigureUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := full(40)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				for range 20 {
					ticket, err := enter(t.Context(), s, "a", time.Minute)
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(10 * time.Millisecond)
					ticket.Leave()
				}
			})
		}
		levels := append(kinds.MandatoryLevels(), kinds.SuggestedLevels()...)
		for i := range 20 {
			time.Sleep(7 * time.Millisecond)
			for _, l := range levels {
				if l.Name == "global-default" {
					q := l.Spec.Limited.LimitResponse.Queuing
					q.Queues, q.HandSize = int32(8+i*20), int32(2+i%4)
				}
			}
			s.Configure(append(kinds.MandatorySchemas(), kinds.SuggestedSchemas()...), levels)
		}
		wg.Wait()
		var b strings.Builder
		s.WriteMetrics(&b)
		for _, want := range []string{
			`apiserver_flowcontrol_dispatched_requests_total{flow_schema="global-default",priority_level="global-default"} 600`,
			`apiserver_flowcontrol_current_executing_requests{flow_schema="global-default",priority_level="global-default"} 0`,
			`apiserver_flowcontrol_current_executing_seats{priority_level="global-default"} 0`,
		} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("metrics lack %s", want)
			}
		}
	})
}

// The usual case: nobody waits.
func BenchmarkEnter(b *testing.B) {
	s := full(600)
	r := request("alice")
	b.ReportAllocs()
	for b.Loop() {
		ticket, err := s.Enter(b.Context(), s.Classify(r), r, Work{Seats: 1}, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		ticket.Leave()
	}
}

func BenchmarkOwn(b *testing.B) {
	s := full(600)
	b.ReportAllocs()
	for b.Loop() {
		ticket := s.Own()
		ticket.Leave()
	}
}
