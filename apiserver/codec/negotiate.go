package codec

import (
	"errors"
	"mime"
	"net/http"
	"sort"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The media types.
const (
	TypeJSON     = "application/json"
	TypeYAML     = "application/yaml"
	TypeProtobuf = "application/vnd.kubernetes.protobuf"
)

const accepted = TypeJSON + ", " + TypeYAML + ", " + TypeProtobuf

// Shape is what becomes of objects before they are encoded.
type Shape uint8

// The shapes.
const (
	Plain   Shape = iota
	Table         // meta.k8s.io Table
	Partial       // meta.k8s.io PartialObjectMetadata, or ...List for lists
)

// Wanted is the form and the shape of an answer.
type Wanted struct {
	Form    Form
	Shape   Shape
	Version string // of meta.k8s.io, where Shape is not Plain: "v1", "v1beta1"
	List    bool   // PartialObjectMetadataList was asked for
}

// ContentType is the header that goes with an answer.
func (w Wanted) ContentType(stream bool) string {
	t := [...]string{JSON: TypeJSON, Protobuf: TypeProtobuf, YAML: TypeYAML}[w.Form]
	if stream && w.Form == Protobuf {
		t += ";stream=watch"
	}
	return t
}

// Accept reads an Accept header: the first of its types, by quality and then by order, that can be had. 406 if none.
func Accept(header string) (Wanted, error) {
	switch header { // nearly all requests
	case "", TypeJSON, "*/*":
		return Wanted{}, nil
	case TypeProtobuf:
		return Wanted{Form: Protobuf}, nil
	}
	for _, c := range Clauses(header) {
		if w, ok := c.wanted(); ok {
			return w, nil
		}
	}
	return Wanted{}, NotAcceptable("only the following media types are accepted: " + accepted)
}

// Streams are the types of watches, which stand beside the others where a path can be watched.
const Streams = TypeJSON + ";stream=watch, " + TypeProtobuf + ";stream=watch"

// Routed says whether an Accept header names a type that the path has at all, which Kubernetes asks before anything else: by the types
// as they are written, without parameters and patterns but "*/*". 406 if not.
func Routed(header string, watchable bool) error {
	switch header {
	case "", TypeJSON, "*/*", TypeProtobuf:
		return nil
	}
	for part := range strings.SplitSeq(header, ",") {
		t, _, _ := strings.Cut(part, ";")
		switch strings.TrimSpace(t) {
		case TypeJSON, TypeYAML, TypeProtobuf, "*/*":
			return nil
		}
	}
	all := accepted
	if watchable {
		all += ", " + Streams
	}
	return apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "",
		"406: Not Acceptable\n\nAvailable representations: "+all, 0, false)
}

// AcceptPlain is the form of what has no other shape than its own: JSON if the client has not thought of that.
func AcceptPlain(header string) Form {
	for _, c := range Clauses(header) {
		if w, ok := c.wanted(); ok && w.Shape == Plain {
			return w.Form
		}
	}
	return JSON
}

// AcceptText is Accept where objects have no protobuf form.
func AcceptText(header string) (Wanted, error) {
	for _, c := range Clauses(header) {
		if w, ok := c.wanted(); ok && (w.Form != Protobuf || w.Shape != Plain) {
			return w, nil
		}
	}
	return Wanted{}, NotAcceptable("only the following media types are accepted: " + accepted)
}

// NotAcceptable is a 406.
func NotAcceptable(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable,
		Reason: metav1.StatusReasonNotAcceptable, Message: text}}
}

// ContentType reads the Content-Type header of a body. 415 if it cannot be read.
func ContentType(header string) (Form, error) {
	switch header {
	case "", TypeJSON:
		return JSON, nil
	case TypeProtobuf:
		return Protobuf, nil
	}
	t, _, err := mime.ParseMediaType(header)
	if err == nil {
		switch t {
		case TypeJSON:
			return JSON, nil
		case TypeProtobuf:
			return Protobuf, nil
		case TypeYAML:
			return YAML, nil
		}
	}
	return 0, Unsupported(accepted)
}

// Unsupported is a 415 that lists what would do.
func Unsupported(accepted string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType,
		Reason:  metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - accepted media types include: " + accepted}}
}

// Clause is one type of an Accept header.
type Clause struct {
	Type   string
	Params map[string]string
	q      float64
}

// Clauses splits an Accept header, best first. Malformed clauses are passed over.
func Clauses(header string) []Clause {
	var out []Clause
	for part := range strings.SplitSeq(header, ",") {
		t, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) { // one without a value means nothing
			continue
		}
		c := Clause{t, params, 1}
		if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
			c.q = q
		}
		out = append(out, c)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].q > out[j].q })
	return out
}

func (c Clause) wanted() (w Wanted, ok bool) {
	switch c.Type {
	case TypeJSON, "*/*", "application/*":
	case TypeProtobuf:
		w.Form = Protobuf
	case TypeYAML:
		w.Form = YAML
	default:
		return w, false
	}
	if stream := c.Params["stream"]; stream != "" && stream != "watch" {
		return w, false
	}
	as, asked := c.Params["as"]
	if !asked { // a group or a version alone says nothing
		return w, c.Params["g"] == "" && c.Params["v"] == ""
	}
	gv := schema.GroupVersion{Group: c.Params["g"], Version: c.Params["v"]}
	if gv.Group != metav1.GroupName || gv.Version != "v1" && gv.Version != "v1beta1" {
		return w, false
	}
	w.Version = gv.Version
	switch as {
	case "Table":
		if w.Form == Protobuf { // tables have no such form
			return w, false
		}
		w.Shape = Table
	case "PartialObjectMetadata":
		w.Shape = Partial
	case "PartialObjectMetadataList":
		w.Shape, w.List = Partial, true
	default:
		return w, false
	}
	return w, true
}
