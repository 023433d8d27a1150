package reference

import (
	_ "crypto/sha256" // digests are checked when a name is parsed
	_ "crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io"
	officialPath  = "library/"
	maxName       = 255
	maxTag        = 128
)

// Ref is a parsed name. Domain and Path are always set; at least one of Tag and Digest is.
type Ref struct {
	Domain string // "docker.io", "localhost:5000"
	Path   string // "library/nginx"
	Tag    string // "latest"; empty when only a digest was given
	Digest digest.Digest
}

// Name is the repository without tag and digest: "docker.io/library/nginx".
func (r Ref) Name() string { return r.Domain + "/" + r.Path }

// String is the full name, which Parse reads back.
func (r Ref) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// Tagged is the name with its tag alone, "" when it has none.
func (r Ref) Tagged() string {
	if r.Tag == "" {
		return ""
	}
	return r.Name() + ":" + r.Tag
}

// WithDigest is the repository at a digest.
func (r Ref) WithDigest(d digest.Digest) string { return r.Name() + "@" + d.String() }

// Parse reads a name and completes it. The error quotes the name and says what is wrong with it.
func Parse(s string) (Ref, error) {
	r, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("image name %q: %w", s, err)
	}
	return r, nil
}

func parse(s string) (Ref, error) {
	var r Ref
	if s == "" {
		return r, errors.New("is empty")
	}
	if isHex64(s) {
		return r, errors.New("is an image ID, not a name")
	}
	rest, at, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		d, err := digest.Parse(at)
		if err != nil {
			return r, fmt.Errorf("digest %q: %w", at, err)
		}
		r.Digest = d
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, r.Tag = rest[:i], rest[i+1:]
		if err := checkTag(r.Tag); err != nil {
			return r, err
		}
	} else if !hasDigest {
		r.Tag = "latest"
	}
	r.Domain, r.Path = splitDomain(rest)
	if len(r.Name()) > maxName {
		return r, fmt.Errorf("is longer than %d characters", maxName)
	}
	if err := checkDomain(r.Domain); err != nil {
		return r, err
	}
	return r, checkPath(r.Path)
}

// splitDomain tells a registry from a user name: a registry has a dot, a port, capitals, or is localhost.
func splitDomain(name string) (domain, path string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(first, ".:[") && first != "localhost" && strings.ToLower(first) == first {
		domain, path = defaultDomain, name
	} else {
		domain, path = first, rest
	}
	if domain == legacyDomain {
		domain = defaultDomain
	}
	if domain == defaultDomain && !strings.Contains(path, "/") {
		path = officialPath + path
	}
	return domain, path
}

func checkTag(tag string) error {
	if tag == "" || len(tag) > maxTag || tag[0] == '.' || tag[0] == '-' {
		return fmt.Errorf("tag %q: want 1 to %d letters, digits, '_', '.' or '-', not beginning with '.' or '-'", tag, maxTag)
	}
	for _, c := range []byte(tag) {
		if !isAlnum(c) && c != '_' && c != '.' && c != '-' && (c < 'A' || c > 'Z') {
			return fmt.Errorf("tag %q: character %q is not allowed", tag, c)
		}
	}
	return nil
}

func checkDomain(domain string) error {
	host, port := domain, ""
	if strings.HasPrefix(domain, "[") {
		end := strings.IndexByte(domain, ']')
		if end < 0 || strings.Trim(domain[1:end], "0123456789abcdefABCDEF:.") != "" || end == 1 {
			return fmt.Errorf("registry %q: not an IPv6 address", domain)
		}
		host, port = "v6", strings.TrimPrefix(domain[end+1:], ":")
		if rest := domain[end+1:]; rest != "" && (rest[0] != ':' || port == "") {
			return fmt.Errorf("registry %q: bad port", domain)
		}
	} else if i := strings.IndexByte(domain, ':'); i >= 0 {
		host, port = domain[:i], domain[i+1:]
		if port == "" {
			return fmt.Errorf("registry %q: bad port", domain)
		}
	}
	if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return fmt.Errorf("registry %q: bad port", domain)
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("registry %q: not a host name", domain)
		}
		for _, c := range []byte(label) {
			if !isAlnum(c) && c != '-' && (c < 'A' || c > 'Z') {
				return fmt.Errorf("registry %q: character %q is not allowed", domain, c)
			}
		}
	}
	return nil
}

// checkPath wants parts of small letters and digits, joined inside by one '.', one or two '_', or any number of '-'.
func checkPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			return errors.New("has an empty part")
		}
		separators := 0
		for i, c := range []byte(part) {
			switch {
			case isAlnum(c):
				separators = 0
				continue
			case c >= 'A' && c <= 'Z':
				return errors.New("must be in small letters")
			case c != '.' && c != '_' && c != '-':
				return fmt.Errorf("character %q is not allowed", c)
			}
			separators++
			bad := i == 0 || i == len(part)-1 || separators > 1 && part[i-1] != c ||
				separators > 1 && c == '.' || separators > 2 && c == '_'
			if bad {
				return fmt.Errorf("part %q: want letters and digits, joined by '.', '_', '__' or '-'", part)
			}
		}
	}
	return nil
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isHex64(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }
