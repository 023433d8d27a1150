package codec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"proa.dev/object"
)

// MaxBody is the most bytes that a request may send, as Kubernetes bounds it.
const MaxBody = 3 << 20

// maxDepth is how deep JSON and YAML may nest. Kubernetes' own types nest less than 40 deep.
const maxDepth = 1000

// Decode reads one object of kind want from a request body into o, which must be new. What the body does not say (kind,
// apiVersion) is taken to be as wanted. strict lists unknown and duplicate fields, which do not keep o from being used. The
// error is ready to be sent: 400 with Kubernetes' words.
func Decode(body []byte, f Form, want schema.GroupVersionKind, o runtime.Object) (strict []error, err error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return decodeCustom(body, f, want, u)
	}
	var said schema.GroupVersionKind
	var data []byte
	var failed error // of reading it all; what it is comes first
	switch f {
	case Protobuf:
		if said, data, err = openProtobuf(body, o); err != nil {
			return nil, unrecognized(body, want, err)
		}
		failed = o.(message).Unmarshal(data)
	default:
		data = body
		if f == YAML {
			if data, err = yaml.YAMLToJSON(body); err != nil {
				return nil, unrecognized(body, want, err)
			}
		}
		if err = CheckDepth(data); err != nil {
			return nil, unrecognized(body, want, err)
		}
		strict, failed = decodeJSON(body, data, f == YAML, o)
		if said = o.GetObjectKind().GroupVersionKind(); failed != nil || said.Kind == "" || said.Version == "" {
			if said, err = interpret(data); err != nil {
				return nil, unrecognized(body, want, err)
			}
		}
	}
	got := want
	if said.Kind != "" {
		got.Kind = said.Kind
	}
	if said.Version != "" {
		got.Group, got.Version = said.Group, said.Version
	}
	if err := suits(got, want); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, unusable(got, want, failed)
	}
	o.GetObjectKind().SetGroupVersionKind(want)
	return strict, nil
}

// Suits says why an object that calls itself got is not one of kind want, where a patch has made it so.
func Suits(got, want schema.GroupVersionKind) error {
	switch {
	case got == want:
		return nil
	case object.Scheme().Recognizes(got):
		return fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion", got.Version, got.Kind, internal(want.Group), want.Kind)
	}
	return notRegistered(got)
}

// suits says why an object of kind got is not one of kind want.
func suits(got, want schema.GroupVersionKind) error {
	switch {
	case got == want, got.Version == "v1beta1" && got.Group == "policy" && got.Kind == "Eviction" && want.Kind == "Eviction": // both are served
		return nil
	case !object.Scheme().Recognizes(got) && !retired(got):
		return unusable(got, want, notRegistered(got))
	case got.Kind == want.Kind && home(got) == home(want):
		return apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), want.GroupVersion()))
	}
	return unusable(got, want, fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion", got.Version, got.Kind, internal(want.Group), want.Kind))
}

// notRegistered is what Kubernetes says of kinds that it does not know; the scheme is a place in its source that users know by heart.
func notRegistered(gvk schema.GroupVersionKind) error {
	return fmt.Errorf("no kind %q is registered for version %q in scheme %q", gvk.Kind, gvk.GroupVersion(), "pkg/api/legacyscheme/scheme.go:30")
}

// GoType is what Kubernetes calls the Go type of a kind inside.
func GoType(gvk schema.GroupVersionKind) string { return "*" + internal(gvk.Group) + "." + gvk.Kind }

// internal is what Kubernetes calls a group inside.
func internal(group string) string {
	switch group {
	case "", "events.k8s.io":
		return "core"
	}
	name, _, _ := strings.Cut(group, ".")
	return name
}

// home is the group whose objects Kubernetes makes of those of a kind inside.
func home(gvk schema.GroupVersionKind) string {
	switch {
	case gvk.Kind == "Scale":
		return "autoscaling"
	case gvk.Group != "extensions":
		return internal(gvk.Group)
	case gvk.Kind == "Ingress" || gvk.Kind == "NetworkPolicy":
		return "networking"
	}
	return "apps"
}

// typeOf is what JSON has to say about itself. The type is shown in errors as it is written in Kubernetes.
type typeOf = struct {
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
}

// interpret reads what kind of object JSON says that it is.
func interpret(data []byte) (gvk schema.GroupVersionKind, err error) {
	var t typeOf
	if err := json.Unmarshal(data, &t); err != nil {
		return gvk, fmt.Errorf("couldn't get version/kind; json parse error: %w", err)
	}
	gv, err := schema.ParseGroupVersion(t.APIVersion)
	return gv.WithKind(t.Kind), err
}

// unrecognized is the 400 for a body that does not even say what it is.
func unrecognized(body []byte, want schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(body)))
}

// summary is how a body begins.
func summary(body []byte) string {
	const most = 30
	switch {
	case len(body) == 0:
		return "<empty>"
	case body[0] == '{' && len(body) > most:
		return string(body[:most]) + " ..."
	case body[0] == '{':
		return string(body)
	case len(body) > most:
		return hex.EncodeToString(body[:most]) + " ..."
	}
	return hex.EncodeToString(body)
}

// StrictError is the 400 that answers unknown and duplicate fields when the client asked for strict validation.
func StrictError(gvk schema.GroupVersionKind, strict []error) error {
	return unusable(gvk, gvk, runtime.NewStrictDecodingError(strict))
}

// Unusable is the 400 of an object that says it is a got where a want is needed, and cannot be read as that.
func Unusable(got, want schema.GroupVersionKind, err error) error { return unusable(got, want, err) }

func unusable(got, want schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err))
}

// decodeJSON reads data, which is body or what its YAML says in JSON.
func decodeJSON(body, data []byte, isYAML bool, o runtime.Object) (strict []error, err error) {
	if isYAML { // duplicates are lost in the way through JSON
		if _, err := yaml.YAMLToJSONStrict(body); err != nil {
			strict = append(strict, err)
		}
	}
	more, err := kjson.UnmarshalStrict(data, o)
	return append(strict, more...), err
}

// CheckDepth refuses JSON that nests too deep, before anything is allocated for it.
func CheckDepth(data []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted:
			// Strings are most of the bytes of big bodies.
			n := bytes.IndexAny(data[i:], `"\`)
			if n < 0 {
				return nil // unterminated: the parser will say so
			}
			i += n
			if data[i] == '\\' {
				i++
			} else {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("invalid character %q exceeded max depth", c)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// openProtobuf takes what a body says about itself off it. raw is for o, which must be able to read it.
func openProtobuf(body []byte, o runtime.Object) (said schema.GroupVersionKind, raw []byte, err error) {
	if _, ok := o.(message); !ok {
		return said, nil, &ErrNoProtobuf{o}
	}
	switch {
	case len(body) == 0:
		return said, nil, errors.New("empty data")
	case !bytes.HasPrefix(body, magic[:]):
		return said, nil, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", magic[:])
	case len(body) == len(magic):
		return said, nil, errors.New("empty body")
	}
	var u runtime.Unknown
	if err := u.Unmarshal(body[len(magic):]); err != nil {
		return said, nil, err
	}
	return u.GroupVersionKind(), u.Raw, nil
}

// FieldPaths turns the strict errors into the texts of Warning headers: those of YAML come several in one.
func FieldPaths(strict []error) (out []string) {
	for _, err := range strict {
		text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
		text, isYAML := strings.CutPrefix(text, "yaml: ")
		if !isYAML {
			out = append(out, strings.TrimSpace(err.Error()))
			continue
		}
		for line := range strings.Lines(strings.TrimPrefix(text, "unmarshal errors:\n")) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// DecodeDeleteOptions reads the body of a delete: DeleteOptions of meta.k8s.io, or of whatever group the client put them in.
func DecodeDeleteOptions(body []byte, f Form) (o metav1.DeleteOptions, err error) {
	var said schema.GroupVersionKind
	data := body
	switch f {
	case Protobuf:
		if said, data, err = openProtobuf(body, &o); err == nil {
			err = o.Unmarshal(data)
		}
	case YAML:
		if data, err = yaml.YAMLToJSON(body); err != nil {
			break
		}
		fallthrough
	default:
		if err = CheckDepth(data); err != nil {
			break
		}
		if said, err = interpret(data); err == nil {
			err = kjson.UnmarshalCaseSensitivePreserveInts(data, &o)
		}
	}
	if err == nil && said.Kind != "" && said.Kind != "DeleteOptions" {
		err = fmt.Errorf("no kind %q is registered for version %q in scheme %q", said.Kind, said.GroupVersion(),
			"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27")
	}
	if err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}
