package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"sigs.k8s.io/yaml"

	"proa.dev/test/machine"
)

// api is the cluster's API with the administrator's certificate, over keep-alive HTTP/2.
type api struct {
	access
	http *http.Client
}

func connect(m *machine.Machine) (*api, error) {
	a, err := readAccess(m.Command("proa", "kubeconfig"))
	if err != nil {
		return nil, err
	}
	return a.connect(m), nil
}

func (a access) connect(m *machine.Machine) *api {
	transport := &http.Transport{DialContext: m.Dial, TLSClientConfig: a.tls.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 100}
	return &api{a, &http.Client{Transport: transport}}
}

// another is the same over a connection of its own.
func (a *api) another(m *machine.Machine) *api { return a.access.connect(m) }

// access is what a kubeconfig says.
type access struct {
	server string
	tls    *tls.Config
}

// readAccess reads the kubeconfig that a command prints.
func readAccess(cmd interface{ Output() ([]byte, error) }) (access, error) {
	text, err := cmd.Output()
	if err != nil {
		return access{}, fmt.Errorf("proa kubeconfig: %w", err)
	}
	var k struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(text, &k); err != nil {
		return access{}, err
	}
	if len(k.Clusters) != 1 || len(k.Users) != 1 {
		return access{}, errors.New("the kubeconfig does not hold one cluster and one user")
	}
	pair, err := tls.X509KeyPair(k.Users[0].User.Cert, k.Users[0].User.Key)
	if err != nil {
		return access{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.Clusters[0].Cluster.CA)
	return access{k.Clusters[0].Cluster.Server, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}, nil
}

// apply is a server-side apply.
func (a *api) apply(ctx context.Context, path string, body []byte) error {
	_, err := a.send(ctx, http.MethodPatch, path, "application/apply-patch+yaml", body, "")
	return err
}

// do sends JSON and reads the whole answer; any status but 2xx is an error.
func (a *api) do(ctx context.Context, method, path string, body []byte, accept string) ([]byte, error) {
	return a.send(ctx, method, path, "application/json", body, accept)
}

func (a *api) send(ctx context.Context, method, path, form string, body []byte, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", form)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, data)
	}
	return data, err
}

// watch calls fn with each event of a watch until fn says stop or the stream ends.
func (a *api) watch(ctx context.Context, path string, fn func(kind string, object json.RawMessage) (stop bool)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.server+path, nil)
	if err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for in := json.NewDecoder(resp.Body); ; {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := in.Decode(&e); err != nil {
			return err
		}
		if fn(e.Type, e.Object) {
			return nil
		}
	}
}
