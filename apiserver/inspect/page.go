package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"proa.dev/apiserver/codec"
)

// group is that of the structured forms.
const group = "config.k8s.io"

// page is one of the pages. Who asks for nothing in particular gets the text, which is for people; the other forms have to be asked for
// by name: "application/json;v=v1beta1;g=config.k8s.io;as=Statusz".
type page struct {
	component string // how the server calls itself: "apiserver", "kubelet"
	kind      string // "Statusz"
	text      func(*bytes.Buffer)
	data      func() map[string]any // beyond kind, apiVersion and metadata
}

const notForMachines = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"

// ServeHTTP implements http.Handler.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, version, ok := p.asked(r.Header.Get("Accept"))
	if !ok {
		refuse(w)
		return
	}
	name := strings.ToLower(p.kind)
	var out bytes.Buffer
	if version == "" {
		fmt.Fprintf(&out, "\n%s %s\n%s", p.component, name, notForMachines)
		p.text(&out)
		send(w, http.StatusOK, "text/plain; charset=utf-8", out.Bytes())
		return
	}
	data := p.data()
	data["kind"], data["apiVersion"], data["metadata"] = p.kind, group+"/"+version, map[string]any{"name": p.component}
	body, err := json.MarshalIndent(data, "", "  ")
	if err == nil && kind == codec.TypeYAML {
		body, err = yaml.JSONToYAML(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if version == "v1alpha1" {
		w.Header().Add("Warning", "299 - "+strconv.Quote("This version of the "+name+" endpoint is deprecated. Please use a newer version."))
	}
	send(w, http.StatusOK, fmt.Sprintf("%s;g=%s;v=%s;as=%s", kind, group, version, p.kind), body)
}

// asked reads an Accept header. version is that of the structured form; empty for the text.
func (p page) asked(header string) (kind, version string, ok bool) {
	if header == "" {
		return "", "", true
	}
	for _, c := range codec.Clauses(header) {
		switch c.Type {
		case "*/*", "text/*", "text/plain":
			return "", "", true
		case codec.TypeJSON, codec.TypeYAML:
			v := c.Params["v"]
			if c.Params["g"] == group && c.Params["as"] == p.kind && (v == "v1alpha1" || v == "v1beta1") {
				return c.Type, v, true
			}
		}
	}
	return "", "", false
}

func refuse(w http.ResponseWriter) {
	var e apierrors.APIStatus = codec.NotAcceptable("only the following media types are accepted: application/json, application/yaml, text/plain").(*apierrors.StatusError)
	st := e.Status()
	st.SetGroupVersionKind(metav1.Unversioned.WithKind("Status"))
	body, err := json.Marshal(st)
	if err != nil {
		panic(err) // plain fields
	}
	send(w, int(st.Code), codec.TypeJSON, body)
}

func send(w http.ResponseWriter, code int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}
