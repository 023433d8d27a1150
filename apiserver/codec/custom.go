package codec

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decodeCustom reads an object of a custom kind. What its schema does not know stays in it; another kind than the wanted one is for
// validation to refuse.
func decodeCustom(body []byte, f Form, want schema.GroupVersionKind, u *unstructured.Unstructured) (strict []error, err error) {
	data := body
	unrecognized := func(err error) error {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", want.Kind, err, summary(body)))
	}
	switch f {
	case Protobuf:
		return nil, Unsupported(TypeJSON + ", " + TypeYAML)
	case YAML:
		if data, err = yaml.YAMLToJSON(body); err != nil {
			return nil, unrecognized(err)
		}
		if _, err := yaml.YAMLToJSONStrict(body); err != nil {
			strict = append(strict, err)
		}
	}
	if err := CheckDepth(data); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var said struct { // without a name, as in Kubernetes: messages show it
		APIVersion string `json:"apiVersion,omitempty"`
		Kind       string `json:"kind,omitempty"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &said); err != nil {
		return nil, unrecognized(fmt.Errorf("couldn't get version/kind; json parse error: %w", err))
	}
	if _, err := schema.ParseGroupVersion(said.APIVersion); err != nil {
		return nil, unrecognized(err)
	}
	got := schema.FromAPIVersionAndKind(said.APIVersion, said.Kind)
	if got.Kind == "" {
		got.Kind = want.Kind
	}
	if got.Version == "" {
		got.Group, got.Version = want.Group, want.Version
	}
	content := map[string]any{}
	more, err := kjson.UnmarshalStrict(data, &content)
	if err != nil {
		return nil, unusable(got, want, err)
	}
	u.Object = content
	if said.Kind == "" {
		return nil, unrecognized(runtime.NewMissingKindErr(string(body)))
	}
	if got.GroupVersion() != want.GroupVersion() || said.APIVersion == "" {
		said := schema.FromAPIVersionAndKind(said.APIVersion, said.Kind).GroupVersion()
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", said, want.GroupVersion()))
	}
	return append(strict, more...), nil
}
