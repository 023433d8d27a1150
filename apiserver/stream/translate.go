package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// The protocols that are translated.
const (
	execProtocol   = "v4.channel.k8s.io" // of SPDY: its streams end by themselves, so it needs no v5
	execWebSocket  = "v5.channel.k8s.io"
	tunnelProtocol = "portforward.k8s.io"
	tunnelPrefix   = "SPDY/3.1+"
)

// The channels of a WebSocket, by number.
const (
	stdin = iota
	stdout
	stderr
	failure
	resize
	channels
)

var streamTypes = [channels]string{"stdin", "stdout", "stderr", "error", "resize"}

// upgrade asks a kubelet for a SPDY connection and gives its bytes.
func upgrade(r *http.Request, to *url.URL, rt http.RoundTripper, protocol string) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, to.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "SPDY/3.1")
	req.Header.Set("X-Stream-Protocol-Version", protocol)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, unreachable(&url.URL{}, err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusal(resp)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, errors.Join(errors.New("the kubelet's connection cannot be upgraded"), resp.Body.Close())
	}
	return conn, nil
}

// netConn makes a net.Conn of an upgraded connection. Addresses and deadlines are those of nobody: SPDY asks for neither.
type netConn struct{ io.ReadWriteCloser }

func (netConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (netConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (netConn) SetDeadline(time.Time) error      { return nil }
func (netConn) SetReadDeadline(time.Time) error  { return nil }
func (netConn) SetWriteDeadline(time.Time) error { return nil }

// translate joins a client's WebSocket of exec or attach to SPDY streams of the kubelet. An error means that nothing was upgraded yet.
//
// The streams are opened last, and read from at once: a command may be over before the client has its upgrade, and SPDY forgets what
// was not read when a connection ends.
func (s *Streams) translate(w http.ResponseWriter, r *http.Request, to *url.URL, rt http.RoundTripper, o wants) error {
	raw, err := upgrade(r, to, rt, execProtocol)
	if err != nil {
		return err
	}
	conn, err := spdy.NewClientConnection(netConn{raw})
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	defer conn.Close()
	ws, err := upgrader(execWebSocket).Upgrade(hijackable(w), r, nil)
	if err != nil {
		s.Log.Debug("WebSocket not opened", "err", err) // the client has its answer
		return nil
	}
	near := newSocket(ws)
	defer near.close()
	if err := s.join(near, conn, o); err != nil {
		status := apierrors.NewInternalError(err).Status()
		if b, err := json.Marshal(status); err == nil {
			_, _ = near.to(failure).Write(b) // the client may have left
		}
	}
	return nil
}

// open opens the streams that a client wants, in the order that runtimes expect.
func open(conn httpstream.Connection, o wants) (far [channels]httpstream.Stream, err error) {
	wanted := [channels]bool{o.stdin, o.stdout, o.stderr, true, o.tty}
	for _, i := range []int{failure, stdin, stdout, stderr, resize} {
		if !wanted[i] {
			continue
		}
		if far[i], err = conn.CreateStream(http.Header{"Streamtype": {streamTypes[i]}}); err != nil {
			return far, fmt.Errorf("open the %s stream: %w", streamTypes[i], err)
		}
	}
	return far, nil
}

func upgrader(protocol string) *websocket.Upgrader {
	return &websocket.Upgrader{
		Subprotocols: []string{protocol}, ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
		CheckOrigin: func(*http.Request) bool { return true }, // authorised by credentials, not by origin
	}
}

// join copies until the command has ended and all its output was delivered, or the client left.
func (s *Streams) join(near *socket, conn httpstream.Connection, o wants) error {
	first := failure
	for i, on := range []bool{false, o.stdout, o.stderr} {
		if on {
			first = min(first, i)
		}
	}
	if _, err := near.to(first).Write(nil); err != nil { // tells the client that the connection stands
		return nil
	}
	far, err := open(conn, o)
	if err != nil {
		return err
	}
	var out sync.WaitGroup
	for _, i := range []int{stdout, stderr, failure} {
		if far[i] == nil {
			continue
		}
		out.Go(func() {
			if _, err := io.Copy(near.to(i), far[i]); err != nil {
				s.Log.Debug("output ended", "stream", streamTypes[i], "err", err)
				conn.Close()
			}
		})
	}
	go func() { // ends with the WebSocket, which closes when translate returns
		s.Log.Debug("client left", "err", near.read(far))
		conn.Close() // the command shall learn it
	}()
	out.Wait()
	return nil
}

// tunnel carries a client's SPDY connection inside a WebSocket to the kubelet's port-forward.
func (s *Streams) tunnel(w http.ResponseWriter, r *http.Request, to *url.URL, rt http.RoundTripper) error {
	far, err := upgrade(r, to, rt, tunnelProtocol)
	if err != nil {
		return err
	}
	defer far.Close()
	ws, err := upgrader(tunnelPrefix+tunnelProtocol).Upgrade(hijackable(w), r, nil)
	if err != nil {
		s.Log.Debug("WebSocket not opened", "err", err) // the client has its answer
		return nil
	}
	defer ws.Close()
	done := make(chan error, 2)
	go func() { done <- fromWebSocket(far, ws) }() // both end when the connections close
	go func() { done <- toWebSocket(ws, far) }()
	if err := <-done; err != nil {
		s.Log.Debug("port-forward ended", "err", err)
	}
	return nil
}

func fromWebSocket(to io.Writer, ws *websocket.Conn) error {
	for {
		kind, m, err := ws.NextReader()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway) {
			return nil
		}
		if err != nil {
			return err
		}
		if kind != websocket.BinaryMessage {
			return errors.New("a tunnel carries binary messages only")
		}
		if _, err := io.Copy(to, m); err != nil {
			return err
		}
	}
}

func toWebSocket(ws *websocket.Conn, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := ws.WriteMessage(websocket.BinaryMessage, buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
