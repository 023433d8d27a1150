package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
	"proa.dev/runtime/content"
	"proa.dev/runtime/reference"
)

// Server is a registry with everything in memory. Set the exported fields before the first request.
type Server struct {
	*httptest.Server

	User, Password string // wanted for everything, when set
	Bearer         bool   // by a token from /token instead of basic credentials
	// Fault sees every request first. True means that it has answered.
	Fault func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex // guards the fields below
	cuts     int        // answers that will break off
	cutAt    int        // after so many bytes
	docs     map[string]doc
	blobs    map[digest.Digest][]byte
	requests []string
}

type doc struct {
	mediaType string
	body      []byte
}

// token is what /token hands out.
const token = "let-me-in"

// New starts a registry that ends with the test: plain HTTP, or TLS with the certificate of httptest.
func New(t testing.TB, secure bool) *Server {
	t.Helper()
	s := &Server{docs: make(map[string]doc), blobs: make(map[digest.Digest][]byte)}
	s.Server = httptest.NewUnstartedServer(s)
	if secure {
		s.Server.StartTLS()
	} else {
		s.Server.Start()
	}
	t.Cleanup(s.Server.Close)
	return s
}

// Host is the registry's name in image names.
func (s *Server) Host() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
}

// Add serves the images of an archive under their repositories and tags, whatever registry their names say.
func (s *Server) Add(t testing.TB, tar []byte) []archive.Image {
	t.Helper()
	store, err := content.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	images, err := archive.Import(t.Context(), bytes.NewReader(tar), store, store.Lease())
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		body, err := store.Read(im.Manifest.Digest, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatal(err)
		}
		for _, d := range append(m.Layers, m.Config) {
			b, err := store.Read(d.Digest, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			s.AddBlob(b)
		}
		for _, name := range im.Names {
			ref, err := reference.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			s.AddManifest(ref.Path, ref.Tag, m.MediaType, body)
		}
	}
	return images
}

// AddBlob serves a blob in every repository.
func (s *Server) AddBlob(b []byte) digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[digest.FromBytes(b)] = b
	return digest.FromBytes(b)
}

// Corrupt changes a blob and leaves its digest.
func (s *Server) Corrupt(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := bytes.Clone(s.blobs[d])
	b[len(b)/2] ^= 0xff
	s.blobs[d] = b
}

// Cut makes the next n answers with a blob break off after some bytes, if the blob is longer.
func (s *Server) Cut(n, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cuts, s.cutAt = n, bytes
}

// send writes a blob or the first part of it.
func (s *Server) send(w http.ResponseWriter, b []byte) {
	s.mu.Lock()
	cut := s.cuts > 0 && len(b) > s.cutAt
	if cut {
		s.cuts--
		b = b[:s.cutAt]
	}
	s.mu.Unlock()
	w.Write(b)
	if cut {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // hangs up
	}
}

// AddManifest serves a manifest or an index under a tag and its digest.
func (s *Server) AddManifest(path, tag, mediaType string, body []byte) digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digest.FromBytes(body)
	s.docs[path+":"+tag] = doc{mediaType, body}
	s.docs[path+":"+d.String()] = doc{mediaType, body}
	return d
}

// Requests lists what was asked for: "GET library/nginx/blobs/sha256:...", with " from 123" for a Range.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	line := r.Method + " " + path
	if from := strings.TrimPrefix(r.Header.Get("Range"), "bytes="); from != "" {
		line += " from " + strings.TrimSuffix(from, "-")
	}
	s.mu.Lock()
	s.requests = append(s.requests, line)
	s.mu.Unlock()
	switch {
	case s.Fault != nil && s.Fault(w, r):
	case r.URL.Path == "/token":
		s.token(w, r)
	case !s.allowed(r):
		s.challenge(w)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/blobs/uploads/"):
		w.Header().Set("Location", "/v2/"+path+"some-session?state=1")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut:
		s.put(w, r, path)
	case strings.Contains(path, "/manifests/"):
		repo, ref, _ := strings.Cut(path, "/manifests/")
		s.manifest(w, r, repo+":"+ref)
	case strings.Contains(path, "/blobs/"):
		_, d, _ := strings.Cut(path, "/blobs/")
		s.blob(w, r, digest.Digest(d))
	default:
		Refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "no such path")
	}
}

func (s *Server) allowed(r *http.Request) bool {
	if s.User == "" {
		return true
	}
	if s.Bearer {
		return r.Header.Get("Authorization") == "Bearer "+token
	}
	user, password, _ := r.BasicAuth()
	return user == s.User && password == s.Password
}

func (s *Server) challenge(w http.ResponseWriter) {
	if s.Bearer {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:x:pull"`, s.URL))
	} else {
		w.Header().Set("WWW-Authenticate", `Basic realm="test, only"`)
	}
	Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if user != s.User || password != s.Password || r.URL.Query().Get("service") != "test" {
		Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "wrong password")
		return
	}
	fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, token)
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	d, ok := s.docs[key]
	s.mu.Unlock()
	if !ok {
		Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", d.mediaType)
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(d.body).String())
	w.Header().Set("Content-Length", strconv.Itoa(len(d.body)))
	if r.Method != http.MethodHead {
		w.Write(d.body)
	}
}

func (s *Server) blob(w http.ResponseWriter, r *http.Request, d digest.Digest) {
	s.mu.Lock()
	b, ok := s.blobs[d]
	s.mu.Unlock()
	if !ok {
		Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown")
		return
	}
	if from := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"); from != "" {
		n, err := strconv.Atoi(from)
		if err != nil || n >= len(b) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", n, len(b)-1, len(b)))
		w.Header().Set("Content-Length", strconv.Itoa(len(b)-n))
		w.WriteHeader(http.StatusPartialContent)
		s.send(w, b[n:])
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	s.send(w, b)
}

// put takes an upload: a blob with its digest, or a manifest whose blobs are here.
func (s *Server) put(w http.ResponseWriter, r *http.Request, path string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	if repo, tag, ok := strings.Cut(path, "/manifests/"); ok {
		var m ocispec.Manifest
		if err := json.Unmarshal(body, &m); err != nil {
			Refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
			return
		}
		for _, d := range append(m.Layers, m.Config) {
			s.mu.Lock()
			_, ok := s.blobs[d.Digest]
			s.mu.Unlock()
			if !ok {
				Refuse(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", d.Digest.String())
				return
			}
		}
		s.AddManifest(repo, tag, r.Header.Get("Content-Type"), body)
		w.WriteHeader(http.StatusCreated)
		return
	}
	if want := r.URL.Query().Get("digest"); digest.FromBytes(body).String() != want || r.URL.Query().Get("state") != "1" {
		Refuse(w, http.StatusBadRequest, "DIGEST_INVALID", "the bytes do not have "+want)
		return
	}
	s.AddBlob(body)
	w.WriteHeader(http.StatusCreated)
}

// Refuse answers with an error of the distribution specification.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
