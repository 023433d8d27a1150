package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// requestLimit bounds the time of every request that is not long; ?timeout= can shorten it.
const requestLimit = 60 * time.Second

// long says whether the request lasts as long as the client likes.
func (q *request) long() bool {
	if !q.resource {
		return strings.HasPrefix(q.path, "/debug/pprof/")
	}
	if q.verb == "watch" {
		return true
	}
	switch q.target.Sub {
	case "attach", "exec", "proxy", "log", "portforward":
		return true
	}
	return false
}

// allotted is how long the request may take; 0 is for ever. The error is a 400.
func (q *request) allotted() (time.Duration, error) {
	if q.long() {
		return 0, nil
	}
	text := q.query.Get("timeout")
	if text == "" {
		return requestLimit, nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
	case d > 0 && d < requestLimit:
		return d, nil
	}
	return requestLimit, nil
}

// inTime refuses what asks for an impossible time, before anybody looks at who asks.
func (s *Server) inTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := requestOf(r.Context()).untimely
		if err == nil {
			next.ServeHTTP(w, r)
			return
		}
		s.unheard(r, metav1.Status{Code: http.StatusBadRequest, Message: err.Error()})
		s.fail(w, r, err)
	})
}

// answered is a ResponseWriter that remembers the status code, and what the request may take: what is answered later than that is
// replaced by a 504, whoever answers.
type answered struct {
	http.ResponseWriter
	q     *request
	ends  context.Context // with the request's time
	late  bool            // the 504 has been sent
	bytes int64           // of the body
}

func (a *answered) WriteHeader(code int) {
	if a.q.code == 0 && a.over() || a.late {
		a.timeout()
		return
	}
	if a.q.code == 0 {
		a.q.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answered) Write(b []byte) (int, error) {
	if a.q.code == 0 {
		a.WriteHeader(http.StatusOK)
	} else if !a.late && a.over() {
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	}
	if a.late {
		return 0, http.ErrHandlerTimeout
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach flushing, deadlines and hijacking.
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// over says whether the time of the request is.
func (a *answered) over() bool {
	return a.q.allowed != 0 && errors.Is(a.ends.Err(), context.DeadlineExceeded)
}

// timeout answers in the place of what comes too late, once.
func (a *answered) timeout() {
	if a.late {
		return
	}
	a.late = true
	body, err := json.Marshal(apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).ErrStatus)
	if err != nil {
		panic(err) // plain fields
	}
	body = append(body, '\n')
	h := a.Header()
	for name := range h {
		if name != "Audit-Id" && name != "Cache-Control" {
			delete(h, name)
		}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.q.code = http.StatusGatewayTimeout
	a.ResponseWriter.WriteHeader(a.q.code)
	n, _ := a.ResponseWriter.Write(body) // the client is gone: nobody to tell
	a.bytes = int64(n)
}

// Times of reading and writing at the network: a client that is slow must not hold a request longer than it may take.

// readInTime ends the reading of a request's body with the request's time. Call done when it has been read.
func readInTime(ctx context.Context, w http.ResponseWriter) (done func()) {
	return whenOver(ctx, func() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // it fails where the connection is gone
	})
}

// writeInTime ends the writing of a long answer with the request's time. Call done when it has been written.
func writeInTime(ctx context.Context, w http.ResponseWriter) (done func()) {
	return whenOver(ctx, func() {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now())
	})
}

// whenOver calls f when ctx ends. Once done has returned f is not called any more, nor still running: the writer of an answer must not be
// touched after its handler has returned. HTTP/2's would take the process down.
func whenOver(ctx context.Context, f func()) (done func()) {
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ran)
		f()
	})
	return func() {
		if !stop() {
			<-ran
		}
	}
}
