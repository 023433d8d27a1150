package kubeconfig

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// file is the part of a kubeconfig that matters here. Other keys may stand in it.
type file struct {
	Current  string `yaml:"current-context"`
	Clusters []struct {
		Name    string `yaml:"name"`
		Cluster struct {
			Server     string `yaml:"server"`
			CA         string `yaml:"certificate-authority"`
			CAData     string `yaml:"certificate-authority-data"`
			Insecure   bool   `yaml:"insecure-skip-tls-verify"`
			ServerName string `yaml:"tls-server-name"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string `yaml:"name"`
		User struct {
			Cert     string `yaml:"client-certificate"`
			CertData string `yaml:"client-certificate-data"`
			Key      string `yaml:"client-key"`
			KeyData  string `yaml:"client-key-data"`
			Token    string `yaml:"token"`
			File     string `yaml:"tokenFile"`
			Username string `yaml:"username"`
			Password string `yaml:"password"`
		} `yaml:"user"`
	} `yaml:"users"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
}

// Caller posts to one webhook.
type Caller struct {
	url    string
	client *http.Client
	auth   func(*http.Request) error
}

// Read reads a kubeconfig's current context. Names of files in it are relative to its folder.
func Read(path string) (*Caller, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read webhook's kubeconfig: %w", err)
	}
	c, err := parse(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func parse(data []byte, dir string) (*Caller, error) {
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	cluster, user := "", ""
	found := false
	for _, c := range f.Contexts {
		if c.Name == f.Current {
			cluster, user, found = c.Context.Cluster, c.Context.User, true
		}
	}
	if !found {
		return nil, fmt.Errorf("no context %q, which is current-context", f.Current)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	out := &Caller{client: &http.Client{Transport: t}, auth: func(*http.Request) error { return nil }}
	for _, c := range f.Clusters {
		if c.Name != cluster {
			continue
		}
		out.url = c.Cluster.Server
		t.TLSClientConfig.InsecureSkipVerify, t.TLSClientConfig.ServerName = c.Cluster.Insecure, c.Cluster.ServerName
		ca, err := content(c.Cluster.CA, c.Cluster.CAData, dir)
		if err != nil {
			return nil, err
		}
		if ca != nil {
			t.TLSClientConfig.RootCAs = x509.NewCertPool()
			if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
				return nil, errors.New("no PEM certificate in certificate-authority")
			}
		}
	}
	if out.url == "" {
		return nil, fmt.Errorf("cluster %q has no server", cluster)
	}
	return out, out.as(&f, user, dir, t.TLSClientConfig)
}

// as sets how the caller shows itself.
func (c *Caller) as(f *file, user, dir string, conf *tls.Config) error {
	for _, u := range f.Users {
		if u.Name != user {
			continue
		}
		cert, err := content(u.User.Cert, u.User.CertData, dir)
		if err != nil {
			return err
		}
		key, err := content(u.User.Key, u.User.KeyData, dir)
		if err != nil {
			return err
		}
		if cert != nil || key != nil {
			pair, err := tls.X509KeyPair(cert, key)
			if err != nil {
				return fmt.Errorf("client certificate: %w", err)
			}
			conf.Certificates = []tls.Certificate{pair}
		}
		switch p := u.User; {
		case p.File != "":
			c.auth = func(r *http.Request) error { // it may change at any time
				token, err := os.ReadFile(within(dir, p.File))
				r.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
				return err
			}
		case p.Token != "":
			c.auth = func(r *http.Request) error { r.Header.Set("Authorization", "Bearer "+p.Token); return nil }
		case p.Username != "":
			c.auth = func(r *http.Request) error { r.SetBasicAuth(p.Username, p.Password); return nil }
		}
		return nil
	}
	return nil // anonymous
}

func within(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// content is what a file holds, or what stands in the kubeconfig itself, which goes first; nil if there is neither.
func content(name, data, dir string) ([]byte, error) {
	if data != "" {
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("read data: %w", err)
		}
		return b, nil
	}
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(within(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read a file that the kubeconfig names: %w", err)
	}
	return b, nil
}

const (
	maxAnswer = 1 << 20
	tries     = 5
	firstWait = 500 * time.Millisecond
)

// Post sends in as JSON and reads the answer into out. It tries again where the webhook cannot be reached or is not well (500, 429),
// until ctx ends.
func (c *Caller) Post(ctx context.Context, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("ask webhook %s: %w", c.url, err)
	}
	wait := firstWait
	for try := 1; ; try++ {
		again, err := c.post(ctx, body, out)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("ask webhook %s: %w", c.url, err)
		if !again || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = wait * 3 / 2
		}
	}
}

func (c *Caller) post(ctx context.Context, body []byte, out any) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if err := c.auth(r); err != nil {
		return false, err
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return true, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 201 {
		return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests, fmt.Errorf("it answered %s", resp.Status)
	}
	return false, json.Unmarshal(answer, out)
}
