package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

const (
	jsonType  = "application/json"
	protoType = "application/vnd.kubernetes.protobuf"
	yamlType  = "application/yaml"
	// asList is the parameters of the newer form, in the order in which clients send and compare them.
	asList = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
)

// form is how an answer is written.
type form struct {
	protobuf, aggregated, yaml bool
}

// negotiate takes the first media type of an Accept header that is served. Quality values are not weighed: clients list what they
// like best first.
func negotiate(accept string) (form, bool) {
	if accept == "" {
		return form{}, true
	}
	for part := range strings.SplitSeq(accept, ",") {
		t, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		var f form
		switch t {
		case jsonType, "*/*", "application/*":
		case protoType:
			f.protobuf = true
		case yamlType:
			f.yaml = true
		default:
			continue
		}
		if as := params["as"]; as != "" {
			if as != "APIGroupDiscoveryList" || params["g"] != "apidiscovery.k8s.io" || params["v"] != "v2" {
				continue
			}
			f.aggregated = true
		}
		return f, true
	}
	return form{}, false
}

// write answers with o, or with 304 where the client has it already: every answer has an ETag.
func write(w http.ResponseWriter, r *http.Request, f form, o runtime.Object) {
	gv := schema.GroupVersion{Version: "v1"}
	if _, ok := o.(*apidiscovery.APIGroupDiscoveryList); ok {
		gv = apidiscovery.SchemeGroupVersion
	} else {
		f.aggregated = false // asked for below /apis/<group>, where there is one form only
	}
	if list, ok := o.(*metav1.APIResourceList); ok && list.GroupVersion == "v1" {
		gv = schema.GroupVersion{} // the oldest form names no version
	} else if _, ok := o.(*metav1.APIVersions); ok {
		gv = schema.GroupVersion{}
	}
	o.GetObjectKind().SetGroupVersionKind(gv.WithKind(kindOf(o)))
	body, contentType, err := encode(f, o)
	if err != nil {
		http.Error(w, fmt.Sprintf("encode discovery: %v", err), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	if f.aggregated {
		h.Set("Vary", "Accept")
	}
	h.Set("Cache-Control", "public")
	tag := strconv.Quote(fmt.Sprintf("%X", sha512.Sum512(body)))
	h.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body) // the client may be gone; nobody else needs to know
}

func kindOf(o runtime.Object) string {
	switch o.(type) {
	case *apidiscovery.APIGroupDiscoveryList:
		return "APIGroupDiscoveryList"
	case *metav1.APIVersions:
		return "APIVersions"
	case *metav1.APIGroupList:
		return "APIGroupList"
	case *metav1.APIGroup:
		return "APIGroup"
	}
	return "APIResourceList"
}

func encode(f form, o runtime.Object) (body []byte, contentType string, err error) {
	contentType = jsonType
	switch {
	case f.protobuf:
		contentType = protoType
		body, err = envelope(o)
	case f.yaml:
		contentType = yamlType
		body, err = yaml.Marshal(o)
	default:
		body, err = json.Marshal(o)
		body = append(body, '\n')
	}
	if f.aggregated {
		contentType += asList
	}
	return body, contentType, err
}

// envelope is Kubernetes' wrapping of protobuf: four magic bytes, then a runtime.Unknown that names the type.
func envelope(o runtime.Object) ([]byte, error) {
	m, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, fmt.Errorf("%T has no protobuf form", o)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	u := runtime.Unknown{Raw: raw}
	u.APIVersion, u.Kind = o.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	body, err := u.Marshal()
	return append([]byte("k8s\x00"), body...), err
}
