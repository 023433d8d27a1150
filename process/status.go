package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"proa.dev/config"
)

// Status is what `proa status` says.
type Status struct {
	PID              int   // of the daemon; 0: none runs
	Resident         int64 // its memory in bytes
	Server, API      string
	Nodes            []NodeStatus
	Pods, Containers int // on this machine
}

// NodeStatus is one node of the cluster.
type NodeStatus struct{ Name, Ready string }

// ReadStatus looks at this machine, and asks the API if the daemon runs.
func ReadStatus(ctx context.Context, c *config.Config) (s Status, err error) {
	s.PID = Running(c)
	if s.Pods, err = entries(filepath.Join(c.DataDir, "runtime", "sandboxes")); err != nil {
		return s, err
	}
	if s.Containers, err = entries(filepath.Join(c.DataDir, "runtime", "containers")); err != nil {
		return s, err
	}
	if s.PID == 0 {
		return s, nil
	}
	s.Resident = residentOf(s.PID)
	if _, err := os.Stat(pkiDir(c)); errors.Is(err, fs.ErrNotExist) {
		s.Server, s.API = "on another machine", "this one runs an agent"
		return s, nil
	}
	access, err := AdminAccess(c)
	if err != nil {
		return s, err
	}
	s.Server = access.Server
	if s.API, err = ask(ctx, access, "/readyz", nil); err != nil {
		s.API = err.Error()
		return s, nil
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Status struct {
				Conditions []struct {
					Type, Status, Message string
				} `json:"conditions"`
			} `json:"status"`
		} `json:"items"`
	}
	if _, err := ask(ctx, access, "/api/v1/nodes", &list); err != nil {
		return s, err
	}
	for _, n := range list.Items {
		ns := NodeStatus{n.Metadata.Name, "not Ready"}
		for _, cond := range n.Status.Conditions {
			if cond.Type == "Ready" && cond.Status == "True" {
				ns.Ready = "Ready"
			} else if cond.Type == "Ready" {
				ns.Ready += ": " + cond.Message
			}
		}
		s.Nodes = append(s.Nodes, ns)
	}
	return s, nil
}

func entries(dir string) (int, error) {
	list, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return 0, nil
	}
	return len(list), err
}

func residentOf(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // it may just have ended
	if f := strings.Fields(string(data)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// ask gets one path of the API and reads its JSON into out, if there is one.
func ask(ctx context.Context, a Access, path string, out any) (string, error) {
	pair, err := tls.X509KeyPair(a.Cert, a.Key)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Server+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	if err == nil && out != nil {
		err = json.Unmarshal(body, out)
	}
	return strings.TrimSpace(string(body)), err
}
