package patch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"proa.dev/apiserver/codec"
	"proa.dev/client"
	"proa.dev/object"
)

// Bounds of a patch.
const (
	maxOperations = 10000             // of a JSON patch
	fewCopies     = 5                 // copy operations that may be applied without looking at the size in between: 2^5 times the object
	maxSteps      = 200               // operations of a JSON patch with more copies than that
	maxPatched    = 2 * codec.MaxBody // bytes of the result
)

// Apply applies p to cur, which stays as it is, and fills into, which must be new. strict lists unknown and duplicate fields of
// the result and of the patch; patched is what an error about them shows. Errors are ready to be sent.
func Apply(cur object.Object, p client.Patch, into object.Object) (strict []error, patched string, err error) {
	if err := codec.CheckDepth(p.Data); err != nil {
		if p.Type != types.StrategicMergePatchType {
			err = fmt.Errorf("error decoding patch: %w", err)
		}
		return nil, "", apierrors.NewBadRequest(err.Error())
	}
	switch p.Type {
	case types.JSONPatchType, types.MergePatchType:
		return viaJSON(cur, p, into)
	case types.StrategicMergePatchType:
		return strategic(cur, p.Data, into)
	}
	return nil, "", codec.Unsupported(Accepted)
}

// Accepted is the patch types, as a 415 lists them.
const Accepted = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"

// AcceptedCustom is those of custom kinds.
const AcceptedCustom = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"

func viaJSON(cur object.Object, p client.Patch, into object.Object) (strict []error, patched string, err error) {
	was, err := json.Marshal(cur)
	if err != nil {
		return nil, "", apierrors.NewInternalError(err)
	}
	var now []byte
	if p.Type == types.JSONPatchType {
		now, strict, err = operations(was, p.Data)
	} else {
		var v map[string]any
		dup, verr := kjson.UnmarshalStrict(p.Data, &v)
		if verr != nil {
			return nil, "", apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", verr))
		}
		strict = dup
		now, err = jsonpatch.MergePatch(was, p.Data)
		if err != nil {
			err = apierrors.NewBadRequest(err.Error())
		}
	}
	if err != nil {
		return nil, "", err
	}
	if len(now) > maxPatched {
		return nil, "", tooLong(len(now))
	}
	more, err := kjson.UnmarshalStrict(now, into)
	_, custom := into.(runtime.Unstructured) // validation says what is wrong with the kind of these
	if as := into.GetObjectKind().GroupVersionKind(); err == nil && !custom {
		switch want := cur.GetObjectKind().GroupVersionKind(); {
		case as.Version == "" && as.Kind == want.Kind: // Kubernetes reads it into a type of its own, in which it finds no name
			return nil, "", apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", cur.GetName()))
		case as.Kind == "" && as.GroupVersion() == want.GroupVersion():
			into.GetObjectKind().SetGroupVersionKind(want)
		}
	}
	if err == nil && !custom {
		err = codec.Suits(into.GetObjectKind().GroupVersionKind(), cur.GetObjectKind().GroupVersionKind())
	}
	if err != nil {
		return nil, "", unfit(string(now), err)
	}
	return append(strict, more...), string(now), nil
}

// jsonPatchOp is one operation of a JSON patch, to find unknown and duplicate fields.
type jsonPatchOp struct {
	Op    string `json:"op"`
	From  string `json:"from"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// operations applies a JSON patch.
func operations(was, data []byte) (now []byte, strict []error, err error) {
	var ops []jsonPatchOp
	loose, err := kjson.UnmarshalStrict(data, &ops)
	if err != nil { // the name of the type is Kubernetes'
		return nil, nil, apierrors.NewBadRequest("error decoding patch: " + strings.ReplaceAll(err.Error(), "patch.jsonPatchOp", "handlers.jsonPatchOp"))
	}
	for _, e := range loose {
		strict = append(strict, fmt.Errorf("json patch %w", e))
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(patch) > maxOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(patch)))
	}
	if countCopies(patch) > fewCopies {
		now, err = stepwise(was, patch)
		return now, strict, err
	}
	if now, err = apply(patch, was); err != nil {
		return nil, nil, unprocessable(err)
	}
	return now, strict, nil
}

// apply applies a JSON patch. What the library panics at, such as a test of everything for nothing, does not apply.
func apply(p jsonpatch.Patch, doc []byte) (out []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the JSON patch has an operation without what it needs")
		}
	}()
	return p.Apply(doc)
}

// unfit is the 422 for a patch whose result is no object of its kind.
func unfit(patched string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), patched, err.Error())})
}

// Strict is the 422 that answers unknown and duplicate fields when the client asked for strict validation. patched is what Apply has said.
func Strict(patched string, strict []error) error {
	return unfit(patched, runtime.NewStrictDecodingError(strict))
}

func countCopies(p jsonpatch.Patch) (n int) {
	for _, op := range p {
		if op.Kind() == "copy" {
			n++
		}
	}
	return n
}

// stepwise applies a patch one operation after the other, so that copies of copies are stopped before they fill the memory.
func stepwise(doc []byte, p jsonpatch.Patch) (_ []byte, err error) {
	if len(p) > maxSteps {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"a JSON patch with more than %d copy operations may have at most %d operations, got %d", fewCopies, maxSteps, len(p)))
	}
	for _, op := range p {
		if doc, err = apply(jsonpatch.Patch{op}, doc); err != nil {
			return nil, unprocessable(err)
		}
		if len(doc) > maxPatched {
			return nil, tooLong(len(doc))
		}
	}
	return doc, nil
}

func tooLong(n int) error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the patched object is %d bytes long, at most %d are allowed", n, maxPatched))
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

func strategic(cur object.Object, data []byte, into object.Object) (strict []error, patched string, err error) {
	var p map[string]any
	strict, err = kjson.UnmarshalStrict(data, &p)
	if err != nil {
		return nil, "", apierrors.NewBadRequest(err.Error())
	}
	if _, ok := cur.(runtime.Unstructured); ok {
		return nil, "", codec.Unsupported(AcceptedCustom)
	}
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cur)
	if err != nil {
		return nil, "", apierrors.NewInternalError(err)
	}
	patched = fmt.Sprintf("%+v", p)
	now, err := merge(was, p, into)
	if err != nil {
		return nil, "", explain(err)
	}
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(now, into, true)
	into.GetObjectKind().SetGroupVersionKind(cur.GetObjectKind().GroupVersionKind()) // such a patch cannot make it something else
	if bad, ok := runtime.AsStrictDecodingError(err); ok {
		return append(strict, bad.Errors()...), patched, nil
	}
	if err != nil {
		return nil, "", unfit(patched, err)
	}
	return strict, patched, nil
}

// merge is the library's strategic merge. What the library panics at, such as a $retainKeys of maps, is a bad patch.
func merge(was, p map[string]any, into object.Object) (now map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = mergepatch.ErrUnsupportedStrategicMergePatchFormat
		}
	}()
	return strategicpatch.StrategicMergeMapPatch(was, p, into)
}

func explain(err error) error {
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	case errors.Is(err, mergepatch.ErrNoListOfLists), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList):
		return unprocessable(err)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}
