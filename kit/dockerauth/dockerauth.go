package dockerauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Entry is credentials for one registry, or for a part of it.
type Entry struct {
	Username      string
	Password      string
	Email         string // nobody asks for it
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

// Match is an entry that fits an image.
type Match struct {
	Where string // as it is written, without scheme and slash at the end
	Entry
}

// All are the entries that fit an image, the closest first: a longer path before a shorter one, a name before a pattern.
func All(entries map[string]Entry, image string) []Match {
	var out []Match
	for where, e := range entries {
		if fits(where, image) {
			out = append(out, Match{plainWhere(where), e})
		}
	}
	slices.SortFunc(out, Closer)
	return out
}

// Closer is the order of All.
func Closer(a, b Match) int { return strings.Compare(b.Where, a.Where) }

// Best is the entry that fits an image most closely.
func Best(entries map[string]Entry, image string) (Entry, bool) {
	all := All(entries, image)
	if len(all) == 0 {
		return Entry{}, false
	}
	return all[0].Entry, true
}

func plainWhere(where string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(where, "https://"), "http://"), "/")
}

// fits says whether credentials for a registry, "https://index.docker.io/v1/" or "*.example.com/team", are good for an image.
func fits(where, image string) bool {
	host, prefix, _ := strings.Cut(plainWhere(where), "/")
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
		return false
	}
	match, err := path.Match(host, iHost)
	return err == nil && match && strings.HasPrefix(iPath, prefix)
}
