package apiserver

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"

	flowcontrol "k8s.io/api/flowcontrol/v1"

	"proa.dev/apiserver/flow"
	"proa.dev/client"
)

// waitShare is the part of a request's time that it may spend in a queue.
const waitShare = 4

// share lets requests in by their fair share of the server: 429 for those that would have to wait too long. Streams are not counted; a
// watch is until it has told what there is.
func (s *Server) share(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := requestOf(r.Context())
		if q.long() && q.verb != "watch" {
			next.ServeHTTP(w, r)
			return
		}
		a := flow.Request{User: q.user.Name, Groups: q.user.Groups, Verb: q.verb, Resource: q.resource, Path: r.URL.Path}
		if q.resource {
			a.Group, a.Name, a.Sub, a.Namespace = q.target.Group, q.target.Resource.Resource, q.target.Sub, q.target.Namespace
			a.Version, a.Object = q.target.Version, q.target.Name
		}
		place := s.flow.Classify(&a)
		h, class := w.Header(), place.Class()
		h.Set("X-Kubernetes-Pf-Prioritylevel-Uid", class.Level)
		h.Set("X-Kubernetes-Pf-Flowschema-Uid", class.Schema)
		var work flow.Work
		if !place.Exempt() {
			work = workOf(q)
		}
		var err error
		limit := q.allowed
		if limit == 0 {
			limit = requestLimit
		}
		if q.ticket, err = s.flow.Enter(r.Context(), place, &a, work, limit/waitShare); err != nil {
			after := 1
			if refused, ok := flow.IsRefused(err); ok {
				after = refused.RetryAfter
			}
			h.Set("Retry-After", strconv.Itoa(after))
			http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
			return
		}
		defer q.ticket.Leave()
		if q.verb != "watch" {
			n := s.metrics.underWay(q)
			n.Add(1)
			defer n.Add(-1)
		}
		next.ServeHTTP(w, r)
	})
}

// workOf is how much of the server a request takes.
func workOf(q *request) flow.Work {
	if q.served == nil || q.served.Shelf == nil {
		return flow.Work{Seats: 1}
	}
	switch q.verb {
	case "list":
		return flow.ListWork(q.served.Shelf.Len())
	case "watch":
		if rv := q.query.Get("resourceVersion"); rv != "" && rv != "0" && !asks(q.query, "sendInitialEvents") {
			return flow.Work{Seats: 1}
		}
		return flow.ListWork(q.served.Shelf.Len())
	case "get":
		return flow.Work{Seats: 1}
	}
	if q.target.Sub == "token" {
		return flow.Work{Seats: 1} // it writes nothing
	}
	return flow.WriteWork(q.served.Shelf.Watchers())
}

// shareObjects makes the objects of fairness that every cluster has, and shares by what there is: the server is not ready before.
func (s *Server) shareObjects(ctx context.Context, c client.Client) error {
	v := s.cache.View()
	if err := flow.Ensure(ctx, c, v); err != nil {
		return err
	}
	s.flow.Configure(client.ListOf[flowcontrol.FlowSchema](v, client.Select{}), client.ListOf[flowcontrol.PriorityLevelConfiguration](v, client.Select{}))
	return nil
}

// fairness follows these objects as they change.
func (s *Server) fairness(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	f := flow.Follower{Sharer: s.flow, View: s.cache.View(), Client: s.Local(Self()), Log: s.log}
	return f.Run(ctx)
}

// underWay is the counter of requests like q.
func (m *metrics) underWay(q *request) *atomic.Int64 {
	switch q.verb {
	case "get", "list", "head", "options":
		return &m.reading
	}
	return &m.writing
}
