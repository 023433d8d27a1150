package h2

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

func readFull(c *conn, b []byte) (int, error) { return io.ReadFull(c.tls, b) }

func canonical(name string) string { return http.CanonicalHeaderKey(name) }

// request makes the stream of the block that was read.
func (c *conn) request(f frame) (*stream, error) {
	p := &c.block.pseudo
	malformed := func(why string) error { return &streamError{f.stream, protocolError, why} }
	connect := p.method == http.MethodConnect
	switch {
	case connect && (p.path != "" || p.scheme != "" || p.authority == ""):
		return nil, malformed("CONNECT with a path or scheme, or without an authority")
	case !connect && (p.method == "" || p.path == "" || p.scheme != "https" && p.scheme != "http"):
		if !c.block.huge {
			return nil, malformed("a pseudo-header field is missing")
		}
	}
	header := c.header()
	host := p.authority
	if host == "" {
		host = header.Get("Host")
	}
	if strings.Contains(host, "@") {
		return nil, malformed("the authority names a user")
	}
	u := &url.URL{Host: host}
	target := host
	if !connect && p.path != "" {
		var err error
		if u, err = url.ParseRequestURI(p.path); err != nil {
			return nil, malformed("the path is none")
		}
		target = p.path
	}
	st := &stream{conn: c, id: f.stream, ended: f.has(flagEndStream)}
	st.changed.L = &c.mu
	st.inflow.avail = c.server.window
	if httpguts.HeaderValuesContainsToken(header["Expect"], "100-continue") {
		delete(header, "Expect")
		st.goOn = true
	}
	var ctx context.Context
	ctx, st.cancel = context.WithCancel(c.base)
	r := &http.Request{Method: p.method, URL: u, RemoteAddr: c.remote, Header: header, RequestURI: target,
		Proto: "HTTP/2.0", ProtoMajor: 2, Host: host, Body: http.NoBody, Trailer: announced(header)}
	if p.scheme == "https" {
		r.TLS = &c.state
	}
	if st.ended {
		st.bodyErr = io.EOF
	} else {
		r.ContentLength = lengthOf(header)
		r.Body = body{st}
	}
	st.declared = r.ContentLength
	st.request = r.WithContext(ctx)
	st.response = response{stream: st, head: p.method == http.MethodHead, length: -1}
	return st, nil
}

// header is the fields of the block as net/http has them.
func (c *conn) header() http.Header {
	list := c.block.fields
	h := make(http.Header, len(list))
	values := make([]string, len(list)) // one piece of memory for all that come once
	for i := range list {
		name := canonical(list[i].Name)
		if have, ok := h[name]; ok {
			h[name] = append(have, list[i].Value)
			continue
		}
		values[i] = list[i].Value
		h[name] = values[i : i+1 : i+1]
	}
	if cookies := h["Cookie"]; len(cookies) > 1 { // RFC 9113 section 8.2.3
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	return h
}

// announced is the trailer that a request announces: names without values. It takes the announcement out of the header.
func announced(h http.Header) http.Header {
	var t http.Header
	for _, v := range h["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = canonical(textproto.TrimString(name)); name {
			case "Transfer-Encoding", "Trailer", "Content-Length":
			default:
				if t == nil {
					t = http.Header{}
				}
				t[name] = nil
			}
		}
	}
	delete(h, "Trailer")
	return t
}

// lengthOf is the length that the header declares, or -1. Nonsense counts as 0, as in net/http.
func lengthOf(h http.Header) int64 {
	v, ok := h["Content-Length"]
	if !ok {
		return -1
	}
	n, err := strconv.ParseUint(v[0], 10, 63)
	if err != nil {
		return 0
	}
	return int64(n)
}

// start runs the handler of a new stream.
func (c *conn) start(st *stream) {
	handler := c.handler.ServeHTTP
	if c.block.huge {
		handler = refuseHuge
	} else if why := forbidden(st.request.Header); why != "" {
		handler = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, why, http.StatusBadRequest) }
	}
	if limit := c.server.http.ReadTimeout; limit > 0 {
		st.readBefore(time.Now().Add(limit))
	}
	if limit := c.server.http.WriteTimeout; limit > 0 {
		st.writeBefore(time.Now().Add(limit))
	}
	c.handlers.Add(1)
	c.server.crew.answer(job{st, handler})
}

func refuseHuge(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
	_, _ = io.WriteString(w, "<h1>HTTP Error 431</h1><p>Request Header Field(s) Too Large</p>") // the client is gone: nobody to tell
}

// forbidden is what is wrong with a header that has fields of HTTP/1.1's connections, RFC 9113 section 8.2.2.
func forbidden(h http.Header) string {
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Transfer-Encoding"} {
		if _, ok := h[name]; ok {
			return "request header \"" + name + "\" is not valid in HTTP/2"
		}
	}
	if te := h["Te"]; len(te) > 0 && (len(te) > 1 || te[0] != "trailers" && te[0] != "") {
		return "request header \"TE\" may only be \"trailers\" in HTTP/2"
	}
	return ""
}
