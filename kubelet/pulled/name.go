package pulled

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What is wrong with a name, in the words of the reference parser that Kubernetes uses.
var (
	errFormat    = errors.New("invalid reference format")
	errUppercase = errors.New("repository name must be lowercase")
	errEmpty     = errors.New("repository name must have at least one component")
	errTooLong   = errors.New("repository name must not be more than 255 characters")
)

const (
	maxPath   = 255
	maxTag    = 128
	minDigest = 32
)

// trim is an image's name without tag and digest.
func trim(image string) (string, error) {
	name, _, _, err := Split(image)
	return name, err
}

// Split takes a name apart: registry and path, tag, digest. Nothing is added to it: "web" is the name "web".
func Split(image string) (name, tag, sum string, err error) {
	if !wellFormed(image) {
		switch {
		case image == "":
			return "", "", "", errEmpty
		case wellFormed(strings.ToLower(image)):
			return "", "", "", errUppercase
		}
		return "", "", "", errFormat
	}
	name, tag, sum = cut(image)
	path := name
	if first, rest, ok := strings.Cut(name, "/"); ok && isDomain(first) {
		path = rest
	}
	if len(path) > maxPath {
		return "", "", "", errTooLong
	}
	if sum != "" {
		if _, err := digest.Parse(sum); err != nil {
			return "", "", "", err
		}
	}
	return name, tag, sum, nil
}

func cut(image string) (name, tag, sum string) {
	name, sum, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	return name, tag, sum
}

// wellFormed is the grammar: [domain[:port]/]path[:tag][@digest].
func wellFormed(image string) bool {
	name, tag, sum := cut(image)
	rest := image[len(name):]
	if strings.HasPrefix(rest, ":") && !isTag(tag) || strings.Contains(rest, "@") && !isDigest(sum) {
		return false
	}
	first, more, ok := strings.Cut(name, "/")
	return isPath(name) || ok && isDomain(first) && isPath(more)
}

func isPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if !isComponent(part) {
			return false
		}
	}
	return true
}

// isComponent wants small letters and digits, joined by one '.', one or two '_', or any number of '-'.
func isComponent(s string) bool {
	for {
		n := 0
		for n < len(s) && isAlnum(s[n]) {
			n++
		}
		if n == 0 {
			return false
		}
		if s = s[n:]; s == "" {
			return true
		}
		switch {
		case s[0] == '.':
			s = s[1:]
		case strings.HasPrefix(s, "__"):
			s = s[2:]
		case s[0] == '_':
			s = s[1:]
		case s[0] == '-':
			s = strings.TrimLeft(s, "-")
		default:
			return false
		}
	}
}

func isDomain(s string) bool {
	host, port, ported := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 || strings.Trim(s[1:end], "0123456789abcdefABCDEF:") != "" {
			return false
		}
		if host = s[end+1:]; host == "" {
			return true
		}
		return host[0] == ':' && isPort(host[1:])
	}
	if host, port, ported = strings.Cut(s, ":"); ported && !isPort(port) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isLetter(label[i]) && !isDigit(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func isPort(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || len(hex) < minDigest || strings.Trim(hex, "0123456789abcdefABCDEF") != "" {
		return false
	}
	start := true
	for i := range len(algorithm) {
		c := algorithm[i]
		switch {
		case isLetter(c):
			start = false
		case start:
			return false
		case isDigit(c):
		case strings.IndexByte("-_+.", c) >= 0:
			start = true
		default:
			return false
		}
	}
	return !start
}

func isAlnum(c byte) bool  { return c >= 'a' && c <= 'z' || isDigit(c) }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
