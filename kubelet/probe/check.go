package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kubelet/cri"
)

// userAgent is what probed servers know from upstream.
const userAgent = "kube-probe/1.37"

const maxBody = 10 << 10 // bytes of an answer that are read

// check runs a probe once. The message says, in upstream's words, why it failed; with a success it is a warning, or "".
func check(ctx context.Context, rt cri.Runtime, t Target, s *core.Probe) (ok bool, message string) {
	switch {
	case s.Exec != nil:
		return checkExec(ctx, rt, t, s)
	case s.HTTPGet != nil:
		return checkHTTP(ctx, t, s.HTTPGet)
	case s.TCPSocket != nil:
		port, err := Port(t.Container, s.TCPSocket.Port)
		if err != nil {
			return false, err.Error()
		}
		return checkTCP(ctx, net.JoinHostPort(host(s.TCPSocket.Host, t), port))
	case s.GRPC != nil:
		service := ""
		if s.GRPC.Service != nil {
			service = *s.GRPC.Service
		}
		return checkGRPC(ctx, net.JoinHostPort(host("", t), strconv.Itoa(int(s.GRPC.Port))), service)
	}
	return true, ""
}

func host(named string, t Target) string {
	if named != "" {
		return named
	}
	return t.IP.String()
}

// Port is the number of a port that a probe or hook names by number or by name.
func Port(c *core.Container, p intstr.IntOrString) (string, error) {
	if p.Type == intstr.Int {
		return p.String(), nil
	}
	for _, cp := range c.Ports {
		if cp.Name == p.StrVal {
			return strconv.Itoa(int(cp.ContainerPort)), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil && n > 0 && n < 65536 {
		return p.StrVal, nil
	}
	return "", fmt.Errorf("couldn't find port: %s in container %s", p.StrVal, c.Name)
}

func checkExec(ctx context.Context, rt cri.Runtime, t Target, s *core.Probe) (bool, string) {
	timeout := max(s.TimeoutSeconds, 1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(timeout+2)*time.Second) // the runtime ends it first
	defer cancel()
	r, err := rt.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: t.ID, Cmd: s.Exec.Command, Timeout: int64(timeout)})
	if code := status.Code(err); code == codes.DeadlineExceeded || errors.Is(err, context.DeadlineExceeded) {
		return false, fmt.Sprintf("command timed out: %q timed out after %ds", s.Exec.Command, timeout)
	}
	if err != nil {
		return false, "probe errored and resulted in unknown state: " + cri.Message(err)
	}
	if r.GetExitCode() == 0 {
		return true, ""
	}
	out := append(r.GetStdout(), r.GetStderr()...)
	return false, string(out[:min(len(out), maxBody)])
}

func checkTCP(ctx context.Context, addr string) (bool, string) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err.Error()
	}
	c.Close()
	return true, ""
}

func checkHTTP(ctx context.Context, t Target, h *core.HTTPGetAction) (bool, string) {
	client, req, err := HTTPRequest(ctx, t.Container, host("", t), h)
	if err != nil {
		return false, err.Error()
	}
	first := req.URL.Hostname()
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if r.URL.Hostname() != first {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return false, err.Error()
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400: // to another host: that one is not asked
		return true, fmt.Sprintf("Probe terminated redirects, Response body: %s", body)
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return true, ""
	}
	return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)
}

// HTTPRequest is the request that a probe or a lifecycle hook describes, and a client for it that verifies no certificate and keeps no
// connection. ip is used where the action names no host.
func HTTPRequest(ctx context.Context, c *core.Container, ip string, h *core.HTTPGetAction) (*http.Client, *http.Request, error) {
	port, err := Port(c, h.Port)
	if err != nil {
		return nil, nil, err
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		return nil, nil, err
	}
	u.Scheme = "http"
	if h.Scheme == core.URISchemeHTTPS {
		u.Scheme = "https"
	}
	if h.Host != "" {
		ip = h.Host
	}
	u.Host = net.JoinHostPort(ip, port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "*/*")
	for i, e := range h.HTTPHeaders {
		switch key := http.CanonicalHeaderKey(e.Name); {
		case key == "Host":
			req.Host = e.Value
		case i == 0 || req.Header.Get(key) == userAgent || req.Header.Get(key) == "*/*":
			req.Header.Set(key, e.Value)
		default:
			req.Header.Add(key, e.Value)
		}
	}
	if len(req.Header["Accept"]) == 1 && req.Header.Get("Accept") == "" { // named empty: not sent
		req.Header.Del("Accept")
	}
	tr := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a pod's certificate is its own affair
	}
	return &http.Client{Transport: tr}, req, nil
}

func checkGRPC(ctx context.Context, addr, service string) (bool, string) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent(userAgent))
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return false, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", cri.Message(err))
	case codes.DeadlineExceeded, codes.Unavailable:
		return false, fmt.Sprintf("timeout: failed to connect service %q within its timeout: %s", addr, cri.Message(err))
	default:
		return false, fmt.Sprintf("error: health rpc probe failed: %+v", err)
	}
	if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return false, fmt.Sprintf("service unhealthy (responded with %q)", r.GetStatus())
	}
	return true, ""
}
