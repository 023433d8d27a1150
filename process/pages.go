package process

import (
	"net/http"
	"strings"
	"time"

	"proa.dev/apiserver/authn"
	"proa.dev/apiserver/inspect"
)

// pages are the paths of the API server that are about the server itself. keys is what verifies service account tokens.
func (s *server) pages(keys http.Handler) map[string]http.Handler {
	out := map[string]http.Handler{}
	if !s.config.API.NoProfiling {
		out = inspect.Profiles()
	}
	out[authn.DiscoveryPath], out[authn.KeysPath] = keys, keys
	full := strings.TrimPrefix(Kubernetes, "v")
	out["/statusz"] = inspect.Statusz(inspect.Build{Started: time.Now(), Version: full, Emulation: full[:strings.LastIndexByte(full, '.')],
		Paths: []string{"/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"}})
	out["/flagz"] = inspect.Flagz(s.config.Settings)
	return out
}
