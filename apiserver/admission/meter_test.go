package admission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"proa.dev/kit/prom"
)

// TestMeter checks what is counted of steps and webhooks.
func TestMeter(t *testing.T) {
	m := newMeter()
	c := Chain{
		{Name: "One", Admit: func(context.Context, *Request) error { return nil }, Check: func(context.Context, *Request) error { return nil }},
		{Name: "Two", Check: func(_ context.Context, r *Request) error {
			if r.DryRun {
				return errors.New("no")
			}
			return nil
		}},
	}
	for i := range c {
		c[i].meter, c[i].took = m, new(times)
	}
	for _, dry := range []bool{false, true} {
		r := &Request{Op: Create, DryRun: dry}
		if err := c.Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(t.Context(), r); (err != nil) != dry {
			t.Fatal(err)
		}
	}
	m.Hook("a.example.com", true, Update, 0, Answer{Code: 200})
	m.Hook("b.example.com", false, Delete, 0, Answer{Code: 418, Rejected: true})
	m.Hook("c.example.com", false, Delete, 0, Answer{Code: 503, Failed: true, Rejected: true})
	m.Hook("d.example.com", false, Delete, 0, Answer{Code: 503, Failed: true})
	m.FailedOpen("d.example.com", false)
	m.Policy("p", "b", "deny", "no", time.Millisecond)
	m.Policy("p", "b", "deny", "no", time.Millisecond)
	m.Policy("p", "b", "allow", "compilation failed", 0)
	var p prom.Page
	(&Start{meter: m, chain: c}).WriteMetrics(&p)
	const pre = "apiserver_admission_"
	for _, want := range []string{
		`step_admission_duration_seconds_count{operation="CREATE",rejected="false",type="admit"} 2`,
		`step_admission_duration_seconds_count{operation="CREATE",rejected="true",type="validate"} 1`,
		`controller_admission_duration_seconds_count{name="One",operation="CREATE",rejected="false",type="validate"} 2`,
		`controller_admission_duration_seconds_count{name="Two",operation="CREATE",rejected="true",type="validate"} 1`,
		`webhook_request_total{code="200",name="a.example.com",operation="UPDATE",rejected="false",type="admit"} 1`,
		`webhook_rejection_count{error_type="no_error",name="b.example.com",operation="DELETE",rejection_code="418",type="validating"} 1`,
		`webhook_rejection_count{error_type="calling_webhook_error",name="c.example.com",operation="DELETE",rejection_code="503",type="validating"} 1`,
		`webhook_request_total{code="503",name="d.example.com",operation="DELETE",rejected="false",type="validating"} 1`,
		`webhook_fail_open_count{name="d.example.com",type="validating"} 1`,
	} {
		if !strings.Contains(p.String(), pre+want+"\n") {
			t.Errorf("no %s%s in\n%s", pre, want, &p)
		}
	}
	for _, want := range []string{`check_total{enforcement_action="deny",error_type="invalid_error",policy="p",policy_binding="b"} 2`,
		`check_total{enforcement_action="allow",error_type="compile_error",policy="p",policy_binding="b"} 1`,
		`check_duration_seconds_count{enforcement_action="deny",error_type="invalid_error",policy="p",policy_binding="b"} 2`} {
		if !strings.Contains(p.String(), "apiserver_validating_admission_policy_"+want+"\n") {
			t.Errorf("no %s in\n%s", want, &p)
		}
	}
	if strings.Contains(p.String(), `rejection_count{error_type="calling_webhook_error",name="d`) {
		t.Error("a webhook that is ignored has refused something")
	}
}
