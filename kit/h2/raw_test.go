package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is a client that says what it likes.
type peer struct {
	*http2.Framer
	t    *testing.T
	conn *tls.Conn
	enc  *hpack.Encoder
	buf  bytes.Buffer
	dec  *hpack.Decoder
}

func dial(t *testing.T, s *site) *peer {
	t.Helper()
	c, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: s.roots, ServerName: "example.com", NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := &peer{Framer: http2.NewFramer(c, c), t: t, conn: c, dec: hpack.NewDecoder(4096, nil)}
	p.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

func (p *peer) hello(settings ...http2.Setting) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, http2.ClientPreface); err != nil {
		p.t.Fatal(err)
	}
	p.ok(p.WriteSettings(settings...))
}

func (p *peer) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// fields encodes "name value" pairs; pseudo-header fields that are missing are added unless there is one "-".
func (p *peer) fields(list ...string) []byte {
	p.buf.Reset()
	if len(list) == 0 || list[0] != "-" {
		list = append([]string{":method GET", ":scheme https", ":authority example.com", ":path /small"}, list...)
	} else {
		list = list[1:]
	}
	for _, f := range list {
		i := strings.LastIndex(f, " ")
		p.ok(p.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+1:]}))
	}
	return p.buf.Bytes()
}

func (p *peer) request(id uint32, end bool, list ...string) {
	p.t.Helper()
	p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(list...), EndStream: end, EndHeaders: true}))
}

// await is the next frame of a kind. A frame that ends something else is an error.
func (p *peer) await(kind http2.FrameType) http2.Frame {
	p.t.Helper()
	for range 100_000 {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("waiting for %v: %v", kind, err)
		}
		if f.Header().Type == kind && !(kind == http2.FrameSettings && f.Header().Flags.Has(http2.FlagSettingsAck)) {
			return f
		}
		if f.Header().Type == http2.FrameGoAway {
			p.t.Fatalf("waiting for %v: %v", kind, f)
		}
	}
	p.t.Fatalf("waiting for %v: something else all the time", kind)
	return nil
}

func (p *peer) awaitEOF() {
	p.t.Helper()
	if _, err := io.Copy(io.Discard, p.conn); err != nil {
		p.t.Errorf("the connection ends with %v", err)
	}
}

// end says how a connection or stream ended, in one word or two.
func (p *peer) end(id uint32) string {
	for range 100_000 {
		f, err := p.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "RST " + f.ErrCode.String()
			}
		case *http2.HeadersFrame:
			if f.StreamID == id {
				list, err := p.dec.DecodeFull(f.HeaderBlockFragment())
				if err != nil {
					return err.Error()
				}
				return list[0].Value
			}
		case *http2.PingFrame:
			return "PING"
		}
	}
	return "nothing"
}

// TestConversations are frames that peers send, and how that ends.
func TestConversations(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(route), nil)
	raw := func(kind http2.FrameType, flags http2.Flags, id uint32, payload string) func(p *peer) {
		return func(p *peer) { p.ok(p.WriteRawFrame(kind, flags, id, []byte(payload))) }
	}
	get := func(list ...string) func(p *peer) { return func(p *peer) { p.request(1, true, list...) } }
	post := func(list ...string) func(p *peer) {
		return func(p *peer) {
			p.request(1, false, append([]string{"-", ":method POST", ":scheme https", ":path /echo"}, list...)...)
		}
	}
	ping := raw(http2.FramePing, 0, 0, "12345678")
	table := map[string]struct {
		want string
		do   []func(p *peer)
	}{
		"a request":                   {"200", []func(*peer){get()}},
		"an unknown frame":            {"200", []func(*peer){raw(77, 0, 0, "what"), get()}},
		"no method":                   {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":scheme https", ":path /")}},
		"two methods":                 {"RST PROTOCOL_ERROR", []func(*peer){get(":method PUT")}},
		"an unknown pseudo field":     {"RST PROTOCOL_ERROR", []func(*peer){get(":what x")}},
		"a pseudo field of answers":   {"RST PROTOCOL_ERROR", []func(*peer){get(":status 200")}},
		"a pseudo field at the end":   {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method GET", ":scheme https", "a b", ":path /")}},
		"an upper-case name":          {"RST PROTOCOL_ERROR", []func(*peer){get("Name x")}},
		"a bad name":                  {"RST PROTOCOL_ERROR", []func(*peer){get("na(me x")}},
		"no name":                     {"RST PROTOCOL_ERROR", []func(*peer){get(" x")}},
		"a bad value":                 {"RST PROTOCOL_ERROR", []func(*peer){get("name x\ny")}},
		"a user in the authority":     {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method GET", ":scheme https", ":path /", ":authority a@b")}},
		"a bad path":                  {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method GET", ":scheme https", ":path small")}},
		"an empty path":               {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method GET", ":scheme https", ":path ")}},
		"another scheme":              {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method GET", ":scheme ftp", ":path /")}},
		"CONNECT with a path":         {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method CONNECT", ":authority x", ":path /")}},
		"CONNECT":                     {"404", []func(*peer){get("-", ":method CONNECT", ":authority x:1")}},
		"extended CONNECT":            {"RST PROTOCOL_ERROR", []func(*peer){get("-", ":method CONNECT", ":scheme https", ":path /", ":authority x:1", ":protocol websocket")}},
		"Connection":                  {"400", []func(*peer){get("connection close")}},
		"Transfer-Encoding":           {"400", []func(*peer){get("transfer-encoding chunked")}},
		"TE":                          {"400", []func(*peer){get("te gzip")}},
		"a large header":              {"431", []func(*peer){manyFields(12, 100_000)}},
		"less body than said":         {"200", []func(*peer){post("content-length 5"), raw(http2.FrameData, 1, 1, "abc")}},
		"more body than said":         {"RST PROTOCOL_ERROR", []func(*peer){post("content-length 2"), raw(http2.FrameData, 0, 1, "abc")}},
		"padding":                     {"200", []func(*peer){post("content-length 3"), raw(http2.FrameData, 9, 1, "\x04abcxxxx")}},
		"too much padding":            {"GOAWAY PROTOCOL_ERROR", []func(*peer){post(), raw(http2.FrameData, 9, 1, "\x09abcxxxx")}},
		"padding of nothing":          {"GOAWAY FRAME_SIZE_ERROR", []func(*peer){post(), raw(http2.FrameData, 9, 1, "")}},
		"a trailer":                   {"200", []func(*peer){post("trailer x"), func(p *peer) { p.request(1, true, "-", "x y") }}},
		"a trailer that goes on":      {"RST PROTOCOL_ERROR", []func(*peer){post("trailer x"), func(p *peer) { p.request(1, false, "-", "x y") }}},
		"a trailer with a method":     {"RST PROTOCOL_ERROR", []func(*peer){post(), func(p *peer) { p.request(1, true, "-", ":method GET") }}},
		"a trailer with a length":     {"RST PROTOCOL_ERROR", []func(*peer){post(), func(p *peer) { p.request(1, true, "-", "content-length 1") }}},
		"DATA without a stream":       {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameData, 0, 0, "abc")}},
		"DATA on an idle stream":      {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameData, 0, 5, "abc")}},
		"HEADERS without a stream":    {"GOAWAY PROTOCOL_ERROR", []func(*peer){func(p *peer) { p.request(0, true) }}},
		"HEADERS on an even stream":   {"GOAWAY PROTOCOL_ERROR", []func(*peer){func(p *peer) { p.request(2, true) }}},
		"a smaller stream":            {"GOAWAY PROTOCOL_ERROR", []func(*peer){func(p *peer) { p.request(5, true) }, func(p *peer) { p.request(3, true) }}},
		"an interrupted block":        {"GOAWAY PROTOCOL_ERROR", []func(*peer){openBlock, ping}},
		"a block of another stream":   {"GOAWAY PROTOCOL_ERROR", []func(*peer){openBlock, raw(http2.FrameContinuation, 4, 3, "")}},
		"CONTINUATION of nothing":     {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameContinuation, 4, 1, "")}},
		"CONTINUATION without end":    {"GOAWAY ENHANCE_YOUR_CALM", []func(*peer){openBlock, many(1000, raw(http2.FrameContinuation, 0, 1, ""))}},
		"a block without end":         {"GOAWAY ENHANCE_YOUR_CALM", []func(*peer){openBlock, many(80, raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x88", 16000)))}},
		"garbage for a block":         {"GOAWAY COMPRESSION_ERROR", []func(*peer){raw(http2.FrameHeaders, 5, 1, "\xff\xff\xff\xff\xff\xff")}},
		"half a field":                {"GOAWAY COMPRESSION_ERROR", []func(*peer){raw(http2.FrameHeaders, 5, 1, "\x00\x05a")}},
		"dependent on itself":         {"RST PROTOCOL_ERROR", []func(*peer){raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x00"), get()}},
		"PRIORITY of a wrong length":  {"RST FRAME_SIZE_ERROR", []func(*peer){raw(http2.FramePriority, 0, 1, "\x00\x00"), ping}},
		"RST of an idle stream":       {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x01")}},
		"RST of a wrong length":       {"GOAWAY FRAME_SIZE_ERROR", []func(*peer){get(), raw(http2.FrameRSTStream, 0, 1, "\x00")}},
		"SETTINGS of a wrong length":  {"GOAWAY FRAME_SIZE_ERROR", []func(*peer){raw(http2.FrameSettings, 0, 0, "\x00")}},
		"SETTINGS on a stream":        {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameSettings, 0, 1, "")}},
		"an acknowledgement of much":  {"GOAWAY FRAME_SIZE_ERROR", []func(*peer){raw(http2.FrameSettings, 1, 0, "\x00\x01\x00\x00\x00\x00")}},
		"very many settings":          {"GOAWAY ENHANCE_YOUR_CALM", []func(*peer){raw(http2.FrameSettings, 0, 0, strings.Repeat("\x00\x99\x00\x00\x00\x00", 101))}},
		"a window beyond all":         {"GOAWAY FLOW_CONTROL_ERROR", []func(*peer){raw(http2.FrameSettings, 0, 0, "\x00\x04\x80\x00\x00\x00")}},
		"a small frame size":          {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x10\x00")}},
		"a strange push":              {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameSettings, 0, 0, "\x00\x02\x00\x00\x00\x02")}},
		"a push":                      {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02")}},
		"PING":                        {"PING", []func(*peer){ping}},
		"PING of a wrong length":      {"GOAWAY FRAME_SIZE_ERROR", []func(*peer){raw(http2.FramePing, 0, 0, "123")}},
		"PING on a stream":            {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FramePing, 0, 1, "12345678")}},
		"GOAWAY":                      {"GOAWAY NO_ERROR", []func(*peer){raw(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00debug")}},
		"a window by 0":               {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00")}},
		"a stream's window by 0":      {"RST PROTOCOL_ERROR", []func(*peer){post(), raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00")}},
		"a window too large":          {"GOAWAY FLOW_CONTROL_ERROR", []func(*peer){raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff")}},
		"a stream's window too large": {"RST FLOW_CONTROL_ERROR", []func(*peer){post(), raw(http2.FrameWindowUpdate, 0, 1, "\x7f\xff\xff\xff")}},
		"a window of an idle stream":  {"GOAWAY PROTOCOL_ERROR", []func(*peer){raw(http2.FrameWindowUpdate, 0, 7, "\x00\x00\x00\x01")}},
		"useless frames":              {"GOAWAY ENHANCE_YOUR_CALM", []func(*peer){many(uselessLimit+1, raw(77, 0, 0, ""))}},
		"empty DATA":                  {"GOAWAY ENHANCE_YOUR_CALM", []func(*peer){post(), many(uselessLimit+1, raw(http2.FrameData, 0, 1, ""))}},
	}
	for name, c := range table {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := dial(t, s)
			p.hello()
			done := make(chan string, 1)
			go func() { done <- p.end(1) }() // reading beside writing: else both would wait for the other
			for _, do := range c.do {
				do(p)
			}
			if got := <-done; got != c.want {
				t.Errorf("it ends with %s, want %s", got, c.want)
			}
		})
	}
	for name, first := range map[string]string{"HTTP/1": "GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n\r\n", "PING first": http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"} {
		p := dial(t, s)
		if _, err := io.WriteString(p.conn, first); err != nil {
			t.Fatal(err)
		}
		if got := p.end(1); got != "GOAWAY PROTOCOL_ERROR" {
			t.Errorf("%s ends with %s", name, got)
		}
	}
}

func openBlock(p *peer) {
	p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.fields(), EndStream: true}))
}

func many(n int, do func(*peer)) func(*peer) {
	return func(p *peer) {
		for range n {
			do(p)
		}
	}
}

// manyFields is a request with n fields of a size, in as many frames as that takes.
func manyFields(n, size int) func(*peer) {
	return func(p *peer) {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("x-%d %s", i, strings.Repeat("v", size))
		}
		block := bytes.Clone(p.fields(list...))
		p.ok(p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true}))
		for block = block[16000:]; len(block) > 16000; block = block[16000:] {
			p.ok(p.WriteContinuation(1, false, block[:16000]))
		}
		p.ok(p.WriteContinuation(1, true, block))
	}
}

// TestTinyWindows reads an answer byte for byte as the windows allow.
func TestTinyWindows(t *testing.T) {
	body := strings.Repeat("0123456789", 30)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) }), nil)
	p := dial(t, s)
	p.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.request(1, true)
	p.await(http2.FrameHeaders)
	got := ""
	for i := range len(body) {
		n := uint32(1)
		if i == 100 { // all windows by the setting, in the midst of it
			p.ok(p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 50}))
			n = 50
		} else if i >= 101 && i < 150 {
			continue
		} else {
			p.ok(p.WriteWindowUpdate(1, n))
		}
		for n > 0 {
			f := p.await(http2.FrameData).(*http2.DataFrame)
			if uint32(len(f.Data())) > n {
				t.Fatalf("%d bytes came, and %d were allowed", len(f.Data()), n)
			}
			n -= uint32(len(f.Data()))
			got += string(f.Data())
			if f.StreamEnded() != (len(got) == len(body)) {
				t.Fatalf("the end is at %d", len(got))
			}
		}
	}
	if got != body {
		t.Errorf("got %q", got)
	}
}

// TestConnectionWindow has many streams share the connection's window, and all get theirs.
func TestConnectionWindow(t *testing.T) {
	const streams, size = 20, 30_000
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, size)) }), nil)
	p := dial(t, s)
	p.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	for i := range streams {
		p.request(uint32(2*i+1), true)
	}
	allowed, got, ended := 65535, 0, 0
	for ended < streams {
		f := p.await(http2.FrameData).(*http2.DataFrame)
		got += len(f.Data())
		if got > allowed {
			t.Fatalf("%d bytes came, and %d were allowed", got, allowed)
		}
		if f.StreamEnded() {
			ended++
		}
		if got == allowed {
			allowed += 1000
			p.ok(p.WriteWindowUpdate(0, 1000))
		}
	}
	if got != streams*size {
		t.Errorf("%d bytes came", got)
	}
}

// TestUploadStaysInItsWindow sends more than a handler reads.
func TestUploadStaysInItsWindow(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil)
	p := dial(t, s)
	p.hello()
	p.request(1, false, "-", ":method POST", ":scheme https", ":path /")
	go func() {
		for range uploadWindow/16384 + 1 {
			if p.WriteData(1, false, make([]byte, 16384)) != nil {
				return
			}
		}
	}()
	if got := p.end(1); got != "GOAWAY FLOW_CONTROL_ERROR" { // the connection's window is no larger
		t.Errorf("it ends with %s", got)
	}
}

// TestReset frees handlers in all that they may wait for.
func TestReset(t *testing.T) {
	for name, wait := range map[string]func(http.ResponseWriter, *http.Request) error{
		"the context": func(_ http.ResponseWriter, r *http.Request) error { <-r.Context().Done(); return r.Context().Err() },
		"the body":    func(_ http.ResponseWriter, r *http.Request) error { _, err := io.ReadAll(r.Body); return err },
		"a window": func(w http.ResponseWriter, r *http.Request) error {
			for {
				if _, err := w.Write(make([]byte, 100_000)); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan bool, 1), make(chan error, 1)
			s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				began <- true
				ended <- wait(w, r)
			}), nil)
			p := dial(t, s)
			p.hello()
			p.request(1, false, "-", ":method POST", ":scheme https", ":path /")
			<-began
			p.ok(p.WriteRSTStream(1, http2.ErrCodeCancel))
			if err := <-ended; err == nil {
				t.Error("no error")
			}
			p.ok(p.WritePing(false, [8]byte{}))
			p.await(http2.FramePing) // the connection goes on
		})
	}
}

// TestDeadlines frees handlers of a peer that takes nothing, and keeps its connection whole.
func TestDeadlines(t *testing.T) {
	var n atomic.Int64
	type result struct {
		err  error
		took time.Duration
	}
	ended := make(chan result, 1)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stuck" {
			io.WriteString(w, "fine")
			return
		}
		c := http.NewResponseController(w)
		began := time.Now()
		if err := c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		for {
			m, err := w.Write(bytes.Repeat([]byte("x"), 50_000))
			n.Add(int64(m))
			if err != nil {
				ended <- result{err, time.Since(began)}
				return
			}
		}
	}), nil)
	p := dial(t, s)
	p.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.ok(p.WriteWindowUpdate(0, 1<<31-1-65535))
	p.request(1, true, "-", ":method GET", ":scheme https", ":path /stuck") // and read nothing: it is write(2) that blocks
	r := <-ended
	if r.err == nil || !strings.Contains(r.err.Error(), "timeout") || r.took > 5*time.Second {
		t.Errorf("the write ended with %v after %v", r.err, r.took)
	}
	if n.Load() > 64<<20 {
		t.Errorf("%d bytes were taken from the handler", n.Load())
	}
	p.request(3, true)
	var got bytes.Buffer
	reset := false
	for {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.RSTStreamFrame); ok && f.StreamID == 1 {
			reset = true
		}
		if f, ok := f.(*http2.DataFrame); ok {
			if f.StreamID == 3 {
				got.Write(f.Data())
				if f.StreamEnded() {
					break
				}
			} else if strings.Trim(string(f.Data()), "x") != "" {
				t.Fatal("a frame has come to harm")
			}
		}
	}
	if got.String() != "fine" || !reset {
		t.Errorf("the next answer is %q; reset: %v", got.String(), reset)
	}
}

// TestPassedDeadlineFreesAtOnce is what ends a watch whose client is too slow, from another goroutine.
func TestPassedDeadlineFreesAtOnce(t *testing.T) {
	ended := make(chan error, 1)
	stuck := make(chan *http.ResponseController, 1)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stuck <- http.NewResponseController(w)
		for {
			if _, err := w.Write(make([]byte, 50_000)); err != nil {
				ended <- err
				return
			}
		}
	}), nil)
	p := dial(t, s)
	p.hello(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	p.ok(p.WriteWindowUpdate(0, 1<<31-1-65535))
	p.request(1, true)
	c := <-stuck
	if err := c.SetWriteDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}

// TestReadDeadline ends a read of a body that does not come.
func TestReadDeadline(t *testing.T) {
	ended := make(chan error, 1)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.URL.Path == "/passed" {
			if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
				t.Error(err)
			}
		} else if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		_, err := io.ReadAll(r.Body)
		ended <- err
	}), nil)
	p := dial(t, s)
	p.hello()
	for i, path := range []string{"/passed", "/future"} {
		p.request(uint32(2*i+1), false, "-", ":method POST", ":scheme https", ":path "+path)
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: reading ends with %v", path, err)
		}
		if got := p.end(uint32(2*i + 1)); got != "200" {
			t.Errorf("%s: the answer is %s", path, got)
		}
	}
}

// TestRapidReset has no more handlers run than streams are allowed, however fast they are reset.
func TestRapidReset(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan bool)
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := running.Add(1)
		for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
		}
		<-release
		running.Add(-1)
	}), func(srv *http.Server) { srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 50} })
	p := dial(t, s)
	p.hello()
	done := make(chan string, 1)
	go func() { done <- p.end(1 << 30) }()
	for i := range uselessLimit + 100 {
		id := uint32(2*i + 1)
		if p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(), EndStream: true, EndHeaders: true}) != nil ||
			p.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	p.ok(p.WritePing(false, [8]byte{}))
	if got := <-done; got != "GOAWAY ENHANCE_YOUR_CALM" && got != "PING" {
		t.Errorf("it ends with %s", got)
	}
	close(release)
	if most.Load() > 50 {
		t.Errorf("%d handlers ran at once", most.Load())
	}
}

// TestPingsThatNobodyReads are answered within bounds.
func TestPingsThatNobodyReads(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(route), nil)
	p := dial(t, s)
	p.hello()
	p.ok(p.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)))
	for range 10_000_000 / 100 {
		for range 100 {
			if err := p.WritePing(false, [8]byte{}); err != nil {
				return // cut off
			}
		}
	}
	t.Error("ten million pings were taken")
}

// TestAnswersThatNobodyReads are held within bounds, also those without a body.
func TestAnswersThatNobodyReads(t *testing.T) {
	var answered atomic.Int64
	s := serve(t, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("v", 2000))
		w.WriteHeader(http.StatusNoContent)
		answered.Add(1)
	}), nil)
	p := dial(t, s)
	p.hello()
	p.ok(p.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)))
	for id := uint32(1); id < 120_000; id += 2 {
		if p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.fields(), EndStream: true, EndHeaders: true}) != nil {
			break // nothing is taken any more, or the connection was cut
		}
	}
	if n := answered.Load(); n > 30_000 {
		t.Errorf("%d answers of 2 KB were made for a peer that reads none", n)
	}
}

// TestContinue asks for the body when the handler reads it.
func TestContinue(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(route), nil)
	p := dial(t, s)
	p.hello()
	p.request(1, false, "-", ":method POST", ":scheme https", ":path /echo", "expect 100-continue", "content-length 3")
	if got := p.end(1); got != "100" {
		t.Fatalf("got %s", got)
	}
	p.ok(p.WriteData(1, true, []byte("abc")))
	if got := p.end(1); got != "200" {
		t.Errorf("got %s", got)
	}
}

// TestOneRecord holds a small answer to one TLS record.
func TestOneRecord(t *testing.T) {
	s := serve(t, true, http.HandlerFunc(route), nil)
	raw, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	count := &counting{Conn: raw}
	c := tls.Client(count, &tls.Config{RootCAs: s.roots, ServerName: "example.com", NextProtos: []string{"h2"}})
	defer c.Close()
	p := &peer{Framer: http2.NewFramer(c, c), t: t, conn: c, dec: hpack.NewDecoder(4096, nil)}
	p.enc = hpack.NewEncoder(&p.buf)
	p.hello()
	p.ok(p.WritePing(false, [8]byte{}))
	p.await(http2.FramePing)
	before := count.records()
	p.request(1, true)
	f := p.await(http2.FrameData).(*http2.DataFrame)
	if !f.StreamEnded() || string(f.Data()) != "hello" {
		t.Errorf("the answer is %q", f.Data())
	}
	if n := count.records() - before; n != 1 {
		t.Errorf("a small answer takes %d records", n)
	}
}

// counting counts the records that are read.
type counting struct {
	net.Conn
	seen bytes.Buffer
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.seen.Write(p[:n])
	return n, err
}

func (c *counting) records() (n int) {
	for b := c.seen.Bytes(); len(b) >= 5; n++ {
		size := 5 + int(b[3])<<8 + int(b[4])
		b = b[min(size, len(b)):]
	}
	return n
}
