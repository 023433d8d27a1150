package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

const (
	dialWithin = 10 * time.Second
	pingAfter  = 30 * time.Second // of silence on a connection
	pingWithin = 15 * time.Second
	retries    = 10 // of a call that the server was too busy for
	maxAnswer  = 1 << 30
)

// Config says where an API server is and who we are.
type Config struct {
	// Host is "https://10.0.0.1:6443"; a path in it is put before all others. http:// works, without TLS.
	Host string
	// TLS trusts the server's authority and may show a client certificate; GetClientCertificate lets it rotate.
	TLS *tls.Config
	// Token is the bearer token of each request; nil or "" is none.
	Token func() string
	// UserAgent is what the server logs; empty is "proa".
	UserAgent string
}

// Client is a client.Client over HTTPS.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

var _ client.Client = (*Client)(nil)

// New makes a client; nothing is sent.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.Host)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, fmt.Errorf("use API server %q: want https://host:port", cfg.Host)
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "proa"
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: dialWithin, KeepAlive: pingAfter}).DialContext,
		TLSHandshakeTimeout: dialWithin, MaxIdleConnsPerHost: 64, IdleConnTimeout: 5 * time.Minute,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWithin},
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: t}}, nil
}

// Close drops idle connections; calls that are under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get implements client.Client.
func (c *Client) Get(ctx context.Context, t client.Target) (object.Object, error) {
	return c.object(ctx, call{verb: "get", method: http.MethodGet, target: t})
}

// List implements client.Client.
func (c *Client) List(ctx context.Context, t client.Target, opt metav1.ListOptions) (*client.List, error) {
	data, err := c.do(ctx, call{verb: "list", method: http.MethodGet, target: t, query: listQuery(opt)})
	if err != nil {
		return nil, err
	}
	return decodeList(data)
}

// Raw gets what stands at t, which need not be an object.
func (c *Client) Raw(ctx context.Context, t client.Target, query url.Values) ([]byte, error) {
	return c.do(ctx, call{verb: "get", method: http.MethodGet, target: t, query: query})
}

// Create implements client.Client.
func (c *Client) Create(ctx context.Context, t client.Target, o object.Object, opt metav1.CreateOptions) (object.Object, error) {
	if t.Sub == "" {
		t.Name = ""
	}
	q := url.Values{}
	writeQuery(q, opt.DryRun, opt.FieldManager, opt.FieldValidation)
	return c.send(ctx, call{verb: "create", method: http.MethodPost, target: t, query: q}, o)
}

// Update implements client.Client.
func (c *Client) Update(ctx context.Context, t client.Target, o object.Object, opt metav1.UpdateOptions) (object.Object, error) {
	q := url.Values{}
	writeQuery(q, opt.DryRun, opt.FieldManager, opt.FieldValidation)
	return c.send(ctx, call{verb: "update", method: http.MethodPut, target: t, query: q}, o)
}

// Patch implements client.Client.
func (c *Client) Patch(ctx context.Context, t client.Target, p client.Patch, opt metav1.PatchOptions) (object.Object, error) {
	q := url.Values{}
	writeQuery(q, opt.DryRun, opt.FieldManager, opt.FieldValidation)
	if opt.Force != nil {
		q.Set("force", strconv.FormatBool(*opt.Force))
	}
	return c.object(ctx, call{verb: "patch", method: http.MethodPatch, target: t, query: q, body: p.Data, contentType: string(p.Type)})
}

// Delete implements client.Client.
func (c *Client) Delete(ctx context.Context, t client.Target, opt metav1.DeleteOptions) error {
	body, err := deleteBody(opt)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{verb: "delete", method: http.MethodDelete, target: t, body: body, contentType: jsonType})
	return err
}

// DeleteCollection implements client.Client.
func (c *Client) DeleteCollection(ctx context.Context, t client.Target, opt metav1.DeleteOptions, which metav1.ListOptions) error {
	body, err := deleteBody(opt)
	if err != nil {
		return err
	}
	t.Name = ""
	_, err = c.do(ctx, call{verb: "deletecollection", method: http.MethodDelete, target: t, query: listQuery(which), body: body, contentType: jsonType})
	return err
}

func deleteBody(opt metav1.DeleteOptions) ([]byte, error) {
	opt.Kind, opt.APIVersion = "DeleteOptions", "v1"
	body, err := json.Marshal(opt)
	if err != nil {
		return nil, fmt.Errorf("encode delete options: %w", err)
	}
	return body, nil
}

func listQuery(o metav1.ListOptions) url.Values {
	q := url.Values{}
	set := func(k, v string) {
		if v != "" {
			q.Set(k, v)
		}
	}
	set("labelSelector", o.LabelSelector)
	set("fieldSelector", o.FieldSelector)
	set("resourceVersion", o.ResourceVersion)
	set("resourceVersionMatch", string(o.ResourceVersionMatch))
	set("continue", o.Continue)
	if o.Limit > 0 {
		q.Set("limit", strconv.FormatInt(o.Limit, 10))
	}
	if o.TimeoutSeconds != nil {
		q.Set("timeoutSeconds", strconv.FormatInt(*o.TimeoutSeconds, 10))
	}
	if o.Watch {
		q.Set("watch", "true")
	}
	if o.AllowWatchBookmarks {
		q.Set("allowWatchBookmarks", "true")
	}
	if o.SendInitialEvents != nil {
		q.Set("sendInitialEvents", strconv.FormatBool(*o.SendInitialEvents))
	}
	return q
}

func writeQuery(q url.Values, dryRun []string, manager, validation string) {
	for _, d := range dryRun {
		q.Add("dryRun", d)
	}
	if manager != "" {
		q.Set("fieldManager", manager)
	}
	if validation != "" {
		q.Set("fieldValidation", validation)
	}
}

// call is one request.
type call struct {
	verb        string // as in an error: get, list, create ...
	method      string
	target      client.Target
	query       url.Values
	body        []byte
	contentType string
}

func (c *Client) send(ctx context.Context, k call, o object.Object) (object.Object, error) {
	var err error
	if k.body, k.contentType, err = encode(o); err != nil {
		return nil, err
	}
	return c.object(ctx, k)
}

func (c *Client) object(ctx context.Context, k call) (object.Object, error) {
	data, err := c.do(ctx, k)
	if err != nil {
		return nil, err
	}
	return decodeObject(data)
}

// do makes a call and reads the answer. A server that is too busy is asked again when it says.
func (c *Client) do(ctx context.Context, k call) ([]byte, error) {
	for try := 0; ; try++ {
		res, err := c.open(ctx, k)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		res.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("%s %s: read the answer: %w", k.verb, k.target.Resource.Resource, err)
		}
		if res.StatusCode < 300 {
			return data, nil
		}
		wait, busy := busyFor(res)
		if !busy || try >= retries {
			return nil, failure(k, res, data)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, failure(k, res, data)
		case <-t.C:
		}
	}
}

func busyFor(res *http.Response) (time.Duration, bool) {
	if res.StatusCode != http.StatusTooManyRequests && res.StatusCode < 500 {
		return 0, false
	}
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0, false
	}
	return min(time.Duration(seconds)*time.Second, time.Minute), true
}

// open sends a call and returns the answer with its body still to be read.
func (c *Client) open(ctx context.Context, k call) (*http.Response, error) {
	u := *c.base
	u.Path = path.Join("/", c.base.Path, pathOf(k.target))
	u.RawQuery = k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), bytes.NewReader(k.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.verb, k.target.Resource.Resource, err)
	}
	req.Header.Set("Accept", accept(k.target.Resource))
	if k.query.Get("watch") != "" {
		req.Header.Set("Accept", strings.ReplaceAll(accept(k.target.Resource), protoType, protoType+";stream=watch"))
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if k.contentType != "" {
		req.Header.Set("Content-Type", k.contentType)
	}
	if c.cfg.Token != nil {
		if token := c.cfg.Token(); token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.verb, k.target.Resource.Resource, errors.Join(context.Cause(ctx), err))
	}
	return res, nil
}

// pathOf is where a target is: /api/v1/namespaces/web/pods/a/log.
func pathOf(t client.Target) string {
	parts := []string{"/apis", t.Group, t.Version}
	if t.Group == "" {
		parts = []string{"/api", t.Version}
	}
	if t.Namespace != "" {
		parts = append(parts, "namespaces", t.Namespace)
	}
	parts = append(parts, t.Resource.Resource)
	if t.Name != "" {
		parts = append(parts, t.Name)
	}
	if t.Sub != "" {
		parts = append(parts, t.Sub)
	}
	return path.Join(parts...)
}

// failure is the error that an answer means: the server's own Status where it sent one.
func failure(k call, res *http.Response, data []byte) error {
	if o, err := decode(data); err == nil {
		if st, ok := o.(*metav1.Status); ok && st.Status != metav1.StatusSuccess {
			return &apierrors.StatusError{ErrStatus: *st}
		}
	}
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // 0 where there is none
	msg := strings.TrimSpace(string(data[:min(len(data), 2048)]))
	return apierrors.NewGenericServerResponse(res.StatusCode, k.verb, k.target.GroupResource(), k.target.Name, msg, seconds, true)
}
