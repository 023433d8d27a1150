package patch

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
)

func pod() *core.Pod {
	return &core.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "1", "b": "2"}},
		Spec:       core.PodSpec{Containers: []core.Container{{Name: "x", Image: "1"}, {Name: "y", Image: "2"}}},
	}
}

func TestPatches(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   types.PatchType
		patch  string
		want   func(*core.Pod)
		strict string
	}{
		{"strategic merges lists by key", types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"y","image":"3"}]}}`, func(p *core.Pod) { p.Spec.Containers[1].Image = "3" }, ""},
		{"strategic deletes by directive", types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"x","$patch":"delete"}]}}`, func(p *core.Pod) { p.Spec.Containers = p.Spec.Containers[1:] }, ""},
		{"strategic nulls", types.StrategicMergePatchType, `{"metadata":{"labels":{"a":null}}}`, func(p *core.Pod) { delete(p.Labels, "a") }, ""},
		{"strategic unknown field", types.StrategicMergePatchType, `{"spec":{"foo":1}}`, func(*core.Pod) {}, `unknown field "spec.foo"`},
		{"strategic duplicate field", types.StrategicMergePatchType, `{"spec":{},"spec":{}}`, func(*core.Pod) {}, `duplicate field "spec"`},
		{"merge replaces lists", types.MergePatchType, `{"spec":{"containers":[{"name":"z"}]}}`, func(p *core.Pod) { p.Spec.Containers = []core.Container{{Name: "z"}} }, ""},
		{"merge unknown field", types.MergePatchType, `{"foo":1}`, func(*core.Pod) {}, `unknown field "foo"`},
		{"operations", types.JSONPatchType, `[{"op":"test","path":"/metadata/name","value":"p"},{"op":"replace","path":"/spec/containers/0/image","value":"9"},{"op":"copy","from":"/metadata/labels/a","path":"/metadata/labels/c"}]`,
			func(p *core.Pod) { p.Spec.Containers[0].Image = "9"; p.Labels["c"] = "1" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cur, got, want := pod(), &core.Pod{}, pod()
			strict, _, err := Apply(cur, client.Patch{Type: c.kind, Data: []byte(c.patch)}, got)
			if err != nil {
				t.Fatal(err)
			}
			c.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(pod(), cur); diff != "" {
				t.Errorf("the current object was changed: %s", diff)
			}
			var texts []string
			for _, e := range strict {
				texts = append(texts, e.Error())
			}
			if s := strings.Join(texts, ";"); s != c.strict {
				t.Errorf("strict: %q, want %q", s, c.strict)
			}
		})
	}
}

func TestRefusedPatches(t *testing.T) {
	copies := func(n int) string {
		ops := []string{`{"op":"add","path":"/a","value":{"x":"y"}}`}
		for i := range n {
			ops = append(ops, fmt.Sprintf(`{"op":"copy","from":"/a","path":"/a/x%d"}`, i))
		}
		return "[" + strings.Join(ops, ",") + "]"
	}
	for name, c := range map[string]struct {
		kind types.PatchType
		data string
		code int32
	}{
		"not JSON":            {types.MergePatchType, "{", 400},
		"merge not an object": {types.MergePatchType, "[]", 400},
		"not a list":          {types.JSONPatchType, "{}", 400},
		"test fails":          {types.JSONPatchType, `[{"op":"test","path":"/metadata/name","value":"q"}]`, 422},
		"no such path":        {types.JSONPatchType, `[{"op":"remove","path":"/nothing"}]`, 422},
		"too many operations": {types.JSONPatchType, "[" + strings.Repeat(`{"op":"test","path":"/x","value":1},`, maxOperations) + `{"op":"test","path":"/x","value":1}]`, 413},
		"a bomb of copies":    {types.JSONPatchType, copies(60), 413},
		"too many copies":     {types.JSONPatchType, copies(300), 413},
		"wrong type":          {types.MergePatchType, `{"spec":{"containers":3}}`, 422},
		"strategic no list":   {types.StrategicMergePatchType, `{"spec":{"containers":[1]}}`, 500},
		"test for nothing":    {types.JSONPatchType, `[{"op":"test","path":""}]`, 422},
		"keys of maps":        {types.StrategicMergePatchType, `{"spec":{"$retainKeys":[{}]}}`, 400},
		"too deep":            {types.MergePatchType, strings.Repeat(`{"a":`, 5000), 400},
		"unknown type":        {"application/cake", `{}`, 415},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Apply(pod(), client.Patch{Type: c.kind, Data: []byte(c.data)}, &core.Pod{})
			st, ok := err.(apierrors.APIStatus)
			if !ok || st.Status().Code != c.code {
				t.Errorf("got %v, want code %d", err, c.code)
			}
		})
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`{"spec":{"containers":[{"name":"y","image":"3"}]}}`, byte(0))
	f.Add(`{"spec":{"$retainKeys":["x"],"$setElementOrder/containers":[{"name":"x"}]}}`, byte(0))
	f.Add(`{"metadata":null}`, byte(1))
	f.Add(`[{"op":"copy","from":"/spec","path":"/spec/a"},{"op":"move","from":"","path":"/a"}]`, byte(2))
	kinds := []types.PatchType{types.StrategicMergePatchType, types.MergePatchType, types.JSONPatchType}
	before, err := json.Marshal(pod())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data string, kind byte) {
		cur := pod()
		if _, _, err := Apply(cur, client.Patch{Type: kinds[kind%3], Data: []byte(data)}, &core.Pod{}); err != nil {
			if _, ok := err.(apierrors.APIStatus); !ok {
				t.Errorf("%v cannot be sent", err)
			}
		}
		if after, err := json.Marshal(cur); err != nil || string(after) != string(before) {
			t.Errorf("the current object was changed to %s", after)
		}
	})
}
