package stream

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"proa.dev/client"
)

// log sends the log of a container, following it if asked to.
func (s *Streams) log(w http.ResponseWriter, r *http.Request, t client.Target) error {
	q := r.URL.Query()
	if err := logOptions(t.Name, q); err != nil {
		return err
	}
	p, err := s.pod(t)
	if err != nil {
		return err
	}
	c, err := container(p, q.Get("container"))
	if err != nil {
		return err
	}
	if p.Spec.NodeName == "" { // nobody has written anything yet
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	to, rt, err := s.kubeletOf(p)
	if err != nil {
		return err
	}
	to.Path = "/containerLogs/" + p.Namespace + "/" + p.Name + "/" + c
	ask := url.Values{}
	for _, name := range []string{"follow", "previous", "timestamps", "tailLines", "limitBytes", "sinceSeconds", "sinceTime"} {
		if v := q.Get(name); v != "" {
			ask.Set(name, v)
		}
	}
	to.RawQuery = ask.Encode()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to.String(), nil)
	if err != nil {
		return err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return unreachable(&url.URL{}, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	defer resp.Body.Close()
	if wsstream.IsWebSocketRequest(r) {
		if err := wsstream.NewReader(&endApart{r: resp.Body}, true, wsstream.NewDefaultReaderProtocols()).Copy(hijackable(w), r); err != nil {
			s.Log.Debug("log over a WebSocket ended", "ns", p.Namespace, "name", p.Name, "err", err)
		}
		return nil
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	return s.pump(w, resp.Body)
}

// logForm says whether the options are numbers and times at all.
func logForm(q url.Values) error {
	number := func(name string) error {
		if !q.Has(name) {
			return nil
		}
		_, err := strconv.ParseInt(q.Get(name), 10, 64)
		return err
	}
	if err := number("sinceSeconds"); err != nil {
		return err
	}
	if t := q.Get("sinceTime"); t != "" && t != "null" {
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return err
		}
	}
	return cmp.Or(number("tailLines"), number("limitBytes"))
}

// logOptions checks how much of a log is asked for.
func logOptions(pod string, q url.Values) error {
	if err := logForm(q); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	var errs field.ErrorList
	for _, o := range []struct {
		name  string
		least int64
		what  string
	}{
		{"tailLines", 0, "must be greater than or equal to 0"}, {"limitBytes", 1, "must be greater than 0"}, {"sinceSeconds", 1, "must be greater than 0"},
	} {
		if n, err := strconv.ParseInt(q.Get(o.name), 10, 64); err == nil && n < o.least {
			errs = append(errs, field.Invalid(field.NewPath(o.name), n, o.what))
		}
	}
	if q.Get("sinceSeconds") != "" && q.Get("sinceTime") != "" {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	}
	if q.Get("stream") != "" {
		errs = append(errs, field.Forbidden(field.NewPath("stream"), "may not be specified")) // it stands behind a feature that is off (KEP-3288)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod, errs)
	}
	return nil
}

// pump copies and sends on every piece at once. The status was sent, so errors can only end the stream.
func (s *Streams) pump(w http.ResponseWriter, from io.Reader) error {
	c := http.NewResponseController(w)
	if err := c.Flush(); err != nil {
		return nil
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return nil
			}
			if err := c.Flush(); err != nil {
				return nil
			}
		}
		if err != nil {
			if err != io.EOF {
				s.Log.Debug("log ended early", "err", err)
			}
			return nil
		}
	}
}

// endApart gives the end of a stream on its own: wsstream throws away what comes together with it.
type endApart struct {
	r   io.Reader
	err error
}

func (e *endApart) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	if n > 0 {
		e.err, err = err, nil
	}
	return n, err
}
