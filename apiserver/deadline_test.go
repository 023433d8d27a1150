package apiserver_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver"
	"proa.dev/apiserver/apitest"
	"proa.dev/kit/h2"
)

// ask sends a request and returns the answer with its body read. It gives up after 20 s.
func ask(t *testing.T, method, url, token string, body io.Reader) (*http.Response, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// getInto reads an answer in the form accept.
func getInto(t *testing.T, url, accept string, out any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}

const timedOut = `{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}` + "\n"

func wantTimeout(t *testing.T, resp *http.Response, body string, err error) {
	t.Helper()
	if resp.StatusCode != 504 || body != timedOut || err != nil || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s: got %d %s %q, %v", resp.Request.URL, resp.StatusCode, resp.Header.Get("Content-Type"), body, err)
	}
}

// TestTimeouts checks that what a request may take bounds whatever answers it.
func TestTimeouts(t *testing.T) {
	s := apitest.Start(t, func(d *apiserver.Deps) {
		d.Routes = map[string]http.Handler{
			"/slow": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Slow", "yes")
				<-r.Context().Done()
				_, _ = w.Write([]byte("done"))
			}),
			"/mute": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			"/half": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("half"))
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				_, _ = w.Write([]byte("done"))
			}),
		}
	})
	for _, path := range []string{"/api/v1/namespaces?timeout=1ns", "/version?timeout=1ns", "/healthz?timeout=1ns", "/nope?timeout=1ns", "/slow?timeout=20ms", "/mute?timeout=20ms"} {
		resp, body, err := ask(t, "GET", s.URL+path, "", nil)
		wantTimeout(t, resp, body, err)
		if resp.Header.Get("X-Slow") != "" || resp.Header.Get("Audit-Id") == "" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
	}
	if _, body, err := ask(t, "GET", s.URL+"/half?timeout=20ms", "", nil); err == nil || body != "half" {
		t.Errorf("half an answer ends with %q, %v", body, err)
	}
	// A client that does not send what it has promised.
	body, never := io.Pipe()
	defer never.Close()
	resp, text, err := ask(t, "POST", s.URL+"/api/v1/namespaces/default/configmaps?timeout=50ms", "", body)
	wantTimeout(t, resp, text, err)

	for path, want := range map[string]string{
		"/api/v1/namespaces?timeout=x": `invalid timeout specified in the request URL - time: invalid duration "x"`,
		"/healthz?timeout=5":           `invalid timeout specified in the request URL - time: missing unit in duration "5"`,
	} {
		resp, body, _ := ask(t, "GET", s.URL+path, "bad", nil) // nobody has been asked who that is
		var st metav1.Status
		if err := json.Unmarshal([]byte(body), &st); err != nil || resp.StatusCode != 400 || st.Message != want || st.Reason != metav1.StatusReasonBadRequest || st.Kind != "Status" {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
	}
	for _, path := range []string{"/api/v1/namespaces?watch=1&timeout=x&timeoutSeconds=1", "/api/v1/namespaces?timeout=-1s", "/api/v1/namespaces?timeout=0", "/api/v1/namespaces?timeout=100h"} {
		if resp, body, _ := ask(t, "GET", s.URL+path, "", nil); resp.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, body, _ := ask(t, "GET", s.URL+"/api/v1/namespaces/default/pods/x/log?timeout=x", "", nil); resp.StatusCode == 400 {
		t.Errorf("a log is bound by a time: %s", body)
	}
}

// TestGoaway checks that clients are sent to a new connection as often as configured.
func TestGoaway(t *testing.T) {
	for _, chance := range []float64{0, 1} {
		s := apitest.Start(t, func(d *apiserver.Deps) { d.Goaway = chance })
		front := httptest.NewUnstartedServer(s.Handler())
		front.EnableHTTP2 = true
		front.Listener = h2.Install(front.Config, front.Listener)
		front.StartTLS()
		defer front.Close()
		kept := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused {
				kept++
			}
		}})
		for range 3 {
			r, err := http.NewRequestWithContext(ctx, "GET", front.URL+"/version", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := front.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
				t.Fatalf("got %s %s", resp.Proto, resp.Status)
			}
		}
		if want := map[float64]int{0: 2, 1: 0}[chance]; kept != want {
			t.Errorf("a chance of %v: %d requests on a kept connection, want %d", chance, kept, want)
		}
	}
}

// TestTooLarge checks the bound of a request's body, with and without its length in advance.
func TestTooLarge(t *testing.T) {
	s := apitest.Start(t)
	big := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"` + strings.Repeat("x", 3<<20) + `"}}`
	for _, body := range []io.Reader{strings.NewReader(big), io.MultiReader(strings.NewReader(big))} {
		resp, text, err := ask(t, "POST", s.URL+"/api/v1/namespaces/default/configmaps", "", body)
		var st metav1.Status
		if jerr := json.Unmarshal([]byte(text), &st); jerr != nil || err != nil || resp.StatusCode != 413 || st.Message != "Request entity too large: limit is 3145728" {
			t.Errorf("got %d %s, %v", resp.StatusCode, text, err)
		}
	}
}
