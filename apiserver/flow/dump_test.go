package flow

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Who runs and who waits is shown, in the words that Kubernetes has for it.
func TestDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := full(30)
		seats := 0
		for _, l := range s.byName() {
			if l.name == "global-default" {
				seats = l.limit
			}
		}
		r := Request{User: "alice", Groups: authenticated, Verb: "list", Resource: true, Name: "pods", Version: "v1", Namespace: "ns", Path: "/api/v1/namespaces/ns/pods"}
		enter := func() (Ticket, error) {
			return s.Enter(t.Context(), s.Classify(&r), &r, Work{Seats: 1}, time.Second)
		}
		var in []Ticket
		for range seats {
			ticket, err := enter()
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, ticket)
		}
		refused := make(chan error)
		go func() {
			_, err := enter()
			refused <- err
		}()
		synctest.Wait()
		var levels, queues, requests strings.Builder
		s.DumpLevels(&levels)
		s.DumpQueues(&queues)
		s.DumpRequests(&requests, true)
		fields := func(text, prefix string) (out []string) {
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, prefix) {
					out = append(out, strings.Join(strings.Fields(line), " "))
				}
			}
			return out
		}
		if got := fields(levels.String(), "global-default"); len(got) != 1 || got[0] != fmt.Sprintf("global-default, 1, false, false, 1, %d, %d, 0, 0, 0", seats, seats) {
			t.Errorf("levels: %q in\n%s", got, levels.String())
		}
		if got := fields(queues.String(), "global-default"); len(got) != 128 {
			t.Errorf("%d queues", len(got))
		}
		got := fields(requests.String(), "global-default")
		if len(got) != 1+seats || !strings.Contains(got[0], ", 0, alice, ") || !strings.HasSuffix(got[1], "alice, list, /api/v1/namespaces/ns/pods, ns, , v1, pods,") || !strings.Contains(got[1], ", -1, alice, ") {
			t.Errorf("requests: %q", got)
		}
		if err := <-refused; err == nil {
			t.Error("let in where there is one seat")
		}
		for i := range in {
			in[i].Leave()
		}
		requests.Reset()
		s.DumpRequests(&requests, false)
		if got := fields(requests.String(), "global-default"); len(got) != 0 {
			t.Errorf("who has left is shown: %q", got)
		}
		levels.Reset()
		s.DumpLevels(&levels)
		if got := fields(levels.String(), "global-default"); got[0] != fmt.Sprintf("global-default, 0, true, false, 0, 0, %d, 0, 1, 0", seats) {
			t.Errorf("levels at the end: %q", got)
		}
	})
}
