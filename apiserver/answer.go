package apiserver

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	autoscaling "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/cache"
	"proa.dev/apiserver/codec"
	"proa.dev/apiserver/rest"
	"proa.dev/kinds"
	"proa.dev/object"
)

// gzipFrom is from how many bytes on an answer is compressed, if the client is on another machine and wants it.
const gzipFrom = 128 << 10

// fail answers with an error as a Status.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e apierrors.APIStatus
	if !errors.As(err, &e) {
		e = apierrors.NewInternalError(err)
	}
	st := e.Status()
	st.SetGroupVersionKind(metav1.Unversioned.WithKind("Status"))
	if st.Status == "" {
		st.Status = metav1.StatusFailure
	}
	if st.Code == 0 {
		st.Code = http.StatusInternalServerError
	}
	if s.deps.Audit != nil {
		noteFailure(r.Context(), st)
	}
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(st.Details.RetryAfterSeconds)))
	}
	q := requestOf(r.Context())
	if !q.accepted { // it failed before that was looked at
		if want, err := codec.Accept(r.Header.Get("Accept")); err == nil {
			q.want.Form, q.want.Shape = want.Form, want.Shape
		}
	}
	form := q.want.Form
	if q.want.Shape != codec.Plain { // no Status has another shape: it is in the first form that is asked for as it is
		form = codec.AcceptPlain(r.Header.Get("Accept"))
	}
	b, eerr := codec.Encode(&st, form)
	if eerr != nil {
		http.Error(w, st.Message, int(st.Code))
		return
	}
	s.send(w, r, int(st.Code), codec.Wanted{Form: form}, b.Bytes)
}

// newline ends every answer in JSON, as those of Kubernetes do: people read them in a terminal.
const newline = "\n"

// writeAll writes body, which may be shared and so cannot grow, and its end.
func writeAll(w io.Writer, body []byte, end string) error {
	if _, err := w.Write(body); err != nil {
		return err
	}
	_, err := io.WriteString(w, end)
	return err
}

// send writes a whole answer.
func (s *Server) send(w http.ResponseWriter, r *http.Request, code int, want codec.Wanted, body []byte) {
	q := requestOf(r.Context())
	h := w.Header()
	h.Set("Content-Type", want.ContentType(false))
	warn(h, q)
	end := ""
	if want.Form == codec.JSON {
		var out bytes.Buffer
		if pretty(r, q) && json.Indent(&out, body, "", "  ") == nil {
			body = out.Bytes()
		}
		switch ended := bytes.HasSuffix(body, []byte(newline)); { // lists are
		case isIndented(body): // which Kubernetes does not end
			body = bytes.TrimSuffix(body, []byte(newline))
		case !ended:
			end = newline
		}
	}
	if len(body) >= gzipFrom {
		defer writeInTime(r.Context(), w)()
	}
	if len(body) >= gzipFrom && zips(r) {
		out, done := s.stream(w, r, code, want)
		if err := writeAll(out, body, end); err == nil {
			done()
		}
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)+len(end)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_ = writeAll(w, body, end) // the client is gone: nobody to tell
	}
}

// stream begins an answer of unknown length. done ends it. The caller bounds its time (writeInTime).
func (s *Server) stream(w http.ResponseWriter, r *http.Request, code int, want codec.Wanted) (out io.Writer, done func()) {
	h := w.Header()
	h.Set("Content-Type", want.ContentType(false))
	warn(h, requestOf(r.Context()))
	if !zips(r) {
		w.WriteHeader(code)
		return w, func() {}
	}
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	w.WriteHeader(code)
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		panic(err) // only an impossible level
	}
	return z, func() { _ = z.Close() }
}

// zips says whether to compress: never for clients on this machine, who would pay for it twice.
func zips(r *http.Request) bool {
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	lh, _, err1 := net.SplitHostPort(local.String())
	rh, _, err2 := net.SplitHostPort(r.RemoteAddr)
	return err1 != nil || err2 != nil || lh != rh
}

func warn(h http.Header, q *request) {
	if q.notes == nil {
		return
	}
	for _, text := range q.notes.Warnings() {
		h.Add("Warning", "299 - "+strconv.Quote(text))
	}
}

// object answers with what a verb has answered.
func (s *Server) object(w http.ResponseWriter, r *http.Request, code int, a rest.Answer) {
	q := requestOf(r.Context())
	body, err := s.encode(q, a)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if s.deps.Audit != nil {
		s.noteAnswer(r.Context(), q, a)
	}
	s.send(w, r, code, q.want, body)
}

func (s *Server) encode(q *request, a rest.Answer) ([]byte, error) {
	if a.Item == nil {
		return s.encodeOther(q, a.Other)
	}
	switch q.want.Shape {
	case codec.Table:
		return s.encodeTable(q, []*cache.Item{a.Item}, metav1.ListMeta{ResourceVersion: a.Item.Object.GetResourceVersion()})
	case codec.Partial:
		if q.want.List {
			return nil, codec.NotAcceptable("you requested PartialObjectMetadataList, but the requested object is not a list (" + codec.GoType(q.served.GVK()) + ")")
		}
		e, err := codec.Encode(codec.PartialOf(a.Item.Object, q.want.Version), q.want.Form)
		return e.Bytes, err
	}
	e, err := s.encodeItem(q, a.Item)
	return e.Bytes, err
}

// encodeItem is an item in the version and form that the request wants.
func (s *Server) encodeItem(q *request, it *cache.Item) (codec.Encoded, error) {
	if q.served.Also == nil {
		return it.Encoded(q.want.Form, s.keeper(q))
	}
	o, err := q.served.Out(it.Object)
	if err != nil {
		return codec.Encoded{}, err
	}
	return codec.Encode(o, q.want.Form)
}

// keeper keeps encodings that others are likely to want: those of reads, and those of writes that somebody watches.
func (s *Server) keeper(q *request) *cache.Keeper {
	switch q.verb {
	case "get", "list", "watch":
		return s.cache.Keeper()
	}
	if q.served.Shelf != nil && q.served.Shelf.Watchers() > 0 {
		return s.cache.Keeper()
	}
	return nil
}

func (s *Server) encodeOther(q *request, o runtime.Object) ([]byte, error) {
	if sc, ok := o.(*autoscaling.Scale); ok {
		if q.want.Shape == codec.Table {
			return s.scaleTable(q, sc)
		}
		if q.want.Shape == codec.Partial && !q.want.List {
			o = codec.PartialOf(sc, q.want.Version)
		}
	} else if q.want.Shape != codec.Plain {
		if _, isStatus := o.(*metav1.Status); !isStatus {
			return nil, codec.NotAcceptable("the object cannot be converted to the requested type")
		}
	}
	e, err := codec.Encode(o, q.want.Form)
	return e.Bytes, err
}

// scaleTable is what kubectl prints of a Scale.
func (s *Server) scaleTable(q *request, sc *autoscaling.Scale) ([]byte, error) {
	include, err := codec.CheckTableOptions(q.query.Get("includeObject"))
	if err != nil {
		return nil, err
	}
	k := kinds.Kind{Columns: rest.ScaleColumns(q.served.Kind), Row: rest.ScaleRow}
	t := codec.MakeTable(&k, []object.Object{sc}, metav1.ListMeta{ResourceVersion: sc.ResourceVersion}, codec.TableOptions{Include: include, Version: q.want.Version}, s.now())
	e, err := codec.Encode(t, q.want.Form)
	return e.Bytes, err
}

func (s *Server) encodeTable(q *request, items []*cache.Item, meta metav1.ListMeta) ([]byte, error) {
	include, err := codec.CheckTableOptions(q.query.Get("includeObject"))
	if err != nil {
		return nil, err
	}
	t, err := s.table(q, items, meta, codec.TableOptions{Include: include, Version: q.want.Version})
	if err != nil {
		return nil, err
	}
	e, err := codec.Encode(t, q.want.Form)
	return e.Bytes, err
}

func (s *Server) table(q *request, items []*cache.Item, meta metav1.ListMeta, opt codec.TableOptions) (*metav1.Table, error) {
	objects := make([]object.Object, len(items))
	for i, it := range items {
		objects[i] = it.Object
	}
	if rank := q.served.Kind.Rank; rank != nil {
		slices.SortStableFunc(objects, func(a, b object.Object) int { return cmp.Compare(rank(a), rank(b)) })
	}
	t := codec.MakeTable(q.served.Kind, objects, meta, opt, s.now())
	if opt.Include == metav1.IncludeObject && q.served.Also != nil {
		for i := range objects {
			o, err := q.served.Out(objects[i])
			if err != nil {
				return nil, err
			}
			t.Rows[i].Object.Object = o
		}
	}
	if q.want.Form == codec.Protobuf { // there the objects of the rows must be bytes already
		for i := range t.Rows {
			if o := t.Rows[i].Object.Object; o != nil {
				e, err := codec.Encode(o, codec.Protobuf)
				if err != nil {
					return nil, err
				}
				t.Rows[i].Object = runtime.RawExtension{Raw: e.Bytes}
			}
		}
	}
	return t, nil
}

// list answers with a page of objects.
func (s *Server) list(w http.ResponseWriter, r *http.Request, l *rest.Listing) {
	q := requestOf(r.Context())
	if s.deps.Audit != nil {
		s.noteList(r.Context(), q, l)
	}
	switch {
	case q.want.Shape == codec.Table:
		body, err := s.encodeTable(q, l.Items, l.Meta)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.send(w, r, http.StatusOK, q.want, body)
		return
	case q.want.Shape == codec.Partial && !q.want.List:
		s.fail(w, r, codec.NotAcceptable("you requested PartialObjectMetadata, but the requested object is a list ("+codec.GoType(q.served.ListGVK())+")"))
		return
	case q.want.Shape == codec.Partial:
		objects := make([]object.Object, len(l.Items))
		for i, it := range l.Items {
			objects[i] = it.Object
		}
		e, err := codec.Encode(codec.PartialList(objects, l.Meta, q.want.Version), q.want.Form)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.send(w, r, http.StatusOK, q.want, e.Bytes)
		return
	}
	form := q.want.Form
	if form == codec.YAML {
		form = codec.JSON
	}
	out := codec.List{GVK: q.served.ListGVK(), Meta: l.Meta, Items: make([]codec.Encoded, len(l.Items)), Untyped: q.served.Kind.Custom != nil}
	size := 0
	as := *q
	as.want.Form = form
	for i, it := range l.Items {
		e, err := s.encodeItem(&as, it)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		out.Items[i] = e
		size += len(e.Bytes)
	}
	if size >= gzipFrom && q.want.Form != codec.YAML && !pretty(r, q) {
		defer writeInTime(r.Context(), w)()
		to, done := s.stream(w, r, http.StatusOK, q.want)
		if out.Write(to, form) == nil {
			done()
		}
		return
	}
	var body bytes.Buffer
	err := out.Write(&body, form)
	b := body.Bytes()
	if err == nil && q.want.Form == codec.YAML {
		b, err = yaml.JSONToYAML(b)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.send(w, r, http.StatusOK, q.want, b)
}
