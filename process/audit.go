package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/audit"
	"proa.dev/config"
	"proa.dev/kit/run"
)

// webhookLimit bounds one post of audit events.
const webhookLimit = 30 * time.Second

// openAudit makes the audit log, if there is to be one.
func (s *server) openAudit() error {
	api, c := s.config.API, s.config.API.Audit
	if api.AuditLog == "" && c.Webhook == "" {
		return nil
	}
	policy, err := audit.Everything(), error(nil)
	if c.Policy != "" {
		if policy, err = audit.ReadPolicy(c.Policy); err != nil {
			return err
		}
	}
	lost := func(events []*audit.Event, err error) {
		s.log.Error("audit events are lost", "count", len(events), "err", err)
	}
	var sinks []audit.Sink
	if api.AuditLog != "" {
		f, err := audit.OpenFile(audit.FileConfig{Path: api.AuditLog, MaxSize: int64(c.MaxSize) << 20, MaxAge: time.Duration(c.MaxAge) * 24 * time.Hour,
			MaxBackups: c.MaxBackups, Compress: c.Compress})
		if err != nil {
			return err
		}
		s.closers = append(s.closers, f.Close)
		sink := truncated(f, c)
		if c.Mode == "batch" {
			sink = audit.NewBatch(sink, audit.Limits{MaxWait: time.Second}, lost)
		}
		sinks = append(sinks, sink)
	}
	stop := make(chan struct{})
	if c.Webhook != "" {
		w, err := auditWebhook(c.Webhook)
		if err != nil {
			return fmt.Errorf("api.audit.webhook: %w", err)
		}
		w.Stop = stop
		sinks = append(sinks, audit.NewBatch(truncated(w, c), audit.Limits{}, lost))
	}
	s.trail = audit.New(audit.Config{Policy: policy, Sinks: sinks, Strict: c.Mode == "blocking-strict", Log: s.log})
	s.parts = append(s.parts, run.Component{Name: "audit log", Run: func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { close(stop) })()
		return s.trail.Run(ctx)
	}})
	return nil
}

func truncated(to audit.Sink, c config.Audit) audit.Sink {
	if c.MaxEventSize <= 0 {
		return to
	}
	return audit.Truncate{To: to, MaxEvent: c.MaxEventSize}
}

// kubeconfig is what is read of a kubeconfig file that names a webhook: its current context, or its only one.
type kubeconfig struct {
	CurrentContext string `json:"current-context"`
	Contexts       []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server   string `json:"server"`
			CA       string `json:"certificate-authority"`
			CAData   string `json:"certificate-authority-data"`
			Insecure bool   `json:"insecure-skip-tls-verify"`
			Name     string `json:"tls-server-name"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Cert      string `json:"client-certificate"`
			CertData  string `json:"client-certificate-data"`
			Key       string `json:"client-key"`
			KeyData   string `json:"client-key-data"`
			Token     string `json:"token"`
			TokenFile string `json:"tokenFile"`
			Username  string `json:"username"`
			Password  string `json:"password"`
		} `json:"user"`
	} `json:"users"`
}

// auditWebhook reads where audit events are posted.
func auditWebhook(path string) (*audit.Webhook, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	cluster, user := "", ""
	for _, c := range k.Contexts {
		if c.Name == k.CurrentContext || k.CurrentContext == "" && len(k.Contexts) == 1 {
			cluster, user = c.Context.Cluster, c.Context.User
		}
	}
	w := &audit.Webhook{}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, c := range k.Clusters {
		if c.Name != cluster && len(k.Contexts) > 0 {
			continue
		}
		w.URL, conf.InsecureSkipVerify, conf.ServerName = c.Cluster.Server, c.Cluster.Insecure, c.Cluster.Name
		ca, err := fileOr(path, c.Cluster.CA, c.Cluster.CAData)
		if err != nil {
			return nil, err
		}
		if ca != nil {
			conf.RootCAs = x509.NewCertPool()
			if !conf.RootCAs.AppendCertsFromPEM(ca) {
				return nil, fmt.Errorf("%s: no certificate in the authority of cluster %q", path, c.Name)
			}
		}
	}
	if w.URL == "" {
		return nil, fmt.Errorf("%s: its current context names no server", path)
	}
	var header http.Header
	for _, u := range k.Users {
		if u.Name != user {
			continue
		}
		cert, err1 := fileOr(path, u.User.Cert, u.User.CertData)
		key, err2 := fileOr(path, u.User.Key, u.User.KeyData)
		token, err3 := fileOr(path, u.User.TokenFile, base64.StdEncoding.EncodeToString([]byte(u.User.Token)))
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, err
		}
		if cert != nil {
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				return nil, fmt.Errorf("%s: user %q: %w", path, u.Name, err)
			}
			conf.Certificates = []tls.Certificate{pair}
		}
		header = http.Header{}
		if len(token) > 0 {
			header.Set("Authorization", "Bearer "+string(token))
		} else if u.User.Username != "" {
			header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username+":"+u.User.Password)))
		}
	}
	w.Client = &http.Client{Timeout: webhookLimit, Transport: withHeader{header, &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConns: 2}}}
	return w, nil
}

// fileOr reads a file that a kubeconfig at path names, or the base64 text in its place. Data wins.
func fileOr(path, file, data string) ([]byte, error) {
	if data != "" {
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return b, nil
	}
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(path), file)
	}
	return os.ReadFile(file)
}

// withHeader adds headers to every request.
type withHeader struct {
	header http.Header
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range w.header {
		r.Header[k] = v
	}
	return w.next.RoundTrip(r)
}
