package dockerauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Entry is credentials for one registry, or for a part of it.
type Entry struct {
	Username      string
	Password      string
	IdentityToken string
	RegistryToken string
}

// Parse reads config.json.
func Parse(b []byte) (map[string]Entry, error) {
	var file struct{ Auths map[string]entry }
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, err
	}
	return plain(file.Auths)
}

// ParseOld reads .dockercfg.
func ParseOld(b []byte) (map[string]Entry, error) {
	var entries map[string]entry
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, err
	}
	return plain(entries)
}

// entry is an Entry as it is written: Auth is "username:password" in base64.
type entry struct {
	Entry
	Auth string
}

func plain(entries map[string]entry) (map[string]Entry, error) {
	out := map[string]Entry{}
	for where, e := range entries {
		if e.Username == "" && e.Auth != "" {
			b, err := base64.StdEncoding.DecodeString(e.Auth)
			if err != nil {
				return nil, fmt.Errorf("auth of %s: %w", where, err)
			}
			e.Username, e.Password, _ = strings.Cut(string(b), ":")
		}
		out[where] = e.Entry
	}
	return out, nil
}

// Best is the entry that fits an image most closely.
func Best(entries map[string]Entry, image string) (Entry, bool) {
	var best Entry
	length := -1
	for where, e := range entries {
		if n, ok := fits(where, image); ok && n > length {
			best, length = e, n
		}
	}
	return best, length >= 0
}

// fits says whether credentials for a registry, "https://index.docker.io/v1/" or "*.example.com/team", are good for an image, and how
// long the match is.
func fits(where, image string) (int, bool) {
	where = strings.TrimPrefix(strings.TrimPrefix(where, "https://"), "http://")
	host, prefix, _ := strings.Cut(strings.TrimSuffix(where, "/"), "/")
	if host == "index.docker.io" || host == "docker.io" || host == "registry-1.docker.io" {
		host, prefix = "docker.io", strings.TrimPrefix(strings.TrimPrefix(prefix, "v1"), "v2")
	}
	iHost, iPath, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(iHost, ".:") && iHost != "localhost" {
		iHost, iPath = "docker.io", image
	}
	if iHost == "index.docker.io" {
		iHost = "docker.io"
	}
	if strings.Count(host, ".") != strings.Count(iHost, ".") {
		return 0, false
	}
	match, err := path.Match(host, iHost)
	if err != nil || !match || !strings.HasPrefix(iPath, prefix) {
		return 0, false
	}
	return len(prefix), true
}
