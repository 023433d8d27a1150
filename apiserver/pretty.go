package apiserver

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// pretty says whether a human reads the answer.
func pretty(r *http.Request, q *request) bool {
	if v, ok := q.query["pretty"]; ok && len(v) > 0 {
		yes, err := strconv.ParseBool(v[0])
		return v[0] == "" || err == nil && yes
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// isIndented says whether an object of JSON is in the form for humans.
func isIndented(body []byte) bool { return bytes.HasPrefix(body, []byte("{\n")) }

// prettily answers as h does, but in the form for humans where one reads it.
func prettily(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !pretty(r, requestOf(r.Context())) {
			h.ServeHTTP(w, r)
			return
		}
		k := &kept{ResponseWriter: w, code: http.StatusOK}
		h.ServeHTTP(k, r)
		var out bytes.Buffer
		body := k.body.Bytes()
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && json.Indent(&out, body, "", "  ") == nil {
			body = bytes.TrimSuffix(out.Bytes(), []byte(newline))
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(k.code)
		_, _ = w.Write(body) // the client is gone: nobody to tell
	})
}

// kept keeps an answer until it is whole.
type kept struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (k *kept) WriteHeader(code int) { k.code = code }

// Write implements http.ResponseWriter.
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }
