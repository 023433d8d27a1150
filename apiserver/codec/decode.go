package codec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	var said schema.GroupVersionKind
	switch f {
	case Protobuf:
		said, err = decodeProtobuf(body, o)
	default:
		strict, said, err = decodeJSON(body, f == YAML, o)
	}
	got := want
	if said.Kind != "" {
		got.Kind = said.Kind
	}
	if said.Version != "" {
		got.Group, got.Version = said.Group, said.Version
	}
	if err != nil {
		return nil, unusable(got, want, err)
	}
	switch {
	case got.GroupVersion() != want.GroupVersion() && object.Scheme().Recognizes(got):
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), want.GroupVersion()))
	case got.GroupVersion() != want.GroupVersion():
		return nil, unusable(got, want, fmt.Errorf("no kind %q is registered for version %q", got.Kind, got.GroupVersion()))
	case got.Kind != want.Kind && object.Scheme().Recognizes(got):
		return nil, unusable(got, want, fmt.Errorf("converting (%s.%s) to (%s.%s): unknown conversion",
			got.Version, got.Kind, want.Version, want.Kind))
	case got.Kind != want.Kind:
		return nil, unusable(got, want, fmt.Errorf("no kind %q is registered for version %q", got.Kind, got.GroupVersion()))
	}
	o.GetObjectKind().SetGroupVersionKind(want)
	return strict, nil
}

// StrictError is the 400 that answers unknown and duplicate fields when the client asked for strict validation.
func StrictError(gvk schema.GroupVersionKind, strict []error) error {
	return unusable(gvk, gvk, runtime.NewStrictDecodingError(strict))
}

func unusable(got, want schema.GroupVersionKind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", got.Kind, got.Version, want.Kind, err))
}

func decodeJSON(body []byte, isYAML bool, o runtime.Object) (strict []error, said schema.GroupVersionKind, err error) {
	data := body
	if isYAML {
		if data, err = yaml.YAMLToJSON(body); err != nil {
			return nil, said, err
		}
	}
	if err := CheckDepth(data); err != nil {
		return nil, said, err
	}
	strict, err = kjson.UnmarshalStrict(data, o)
	if err != nil {
		return nil, o.GetObjectKind().GroupVersionKind(), err
	}
	if isYAML { // duplicates are lost in the way through JSON
		if _, err := yaml.YAMLToJSONStrict(body); err != nil {
			strict = append(strict, err)
		}
	}
	return strict, o.GetObjectKind().GroupVersionKind(), nil
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
				return errors.New("exceeded max depth")
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func decodeProtobuf(body []byte, o runtime.Object) (said schema.GroupVersionKind, err error) {
	m, ok := o.(message)
	if !ok {
		return said, &ErrNoProtobuf{o}
	}
	switch {
	case len(body) == 0:
		return said, errors.New("empty data")
	case !bytes.HasPrefix(body, magic[:]):
		return said, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", magic[:])
	case len(body) == len(magic):
		return said, errors.New("empty body")
	}
	var u runtime.Unknown
	if err := u.Unmarshal(body[len(magic):]); err != nil {
		return said, err
	}
	said = u.GroupVersionKind()
	return said, m.Unmarshal(u.Raw)
}

// FieldPaths turns the strict errors into the texts of Warning headers.
func FieldPaths(strict []error) []string {
	out := make([]string, len(strict))
	for i, err := range strict {
		out[i] = strings.TrimSpace(err.Error())
	}
	return out
}

// DecodeDeleteOptions reads the body of a delete: DeleteOptions of meta.k8s.io, or of whatever group the client put them in.
func DecodeDeleteOptions(body []byte, f Form) (o metav1.DeleteOptions, err error) {
	if f == Protobuf {
		_, err = decodeProtobuf(body, &o)
	} else {
		_, _, err = decodeJSON(body, f == YAML, &o)
	}
	if err == nil && o.Kind != "" && o.Kind != "DeleteOptions" {
		err = fmt.Errorf("decoded object cannot be converted to DeleteOptions: it is a %s", o.Kind)
	}
	if err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}
