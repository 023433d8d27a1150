package limitranger

import (
	"context"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/apiserver/admission"
	"proa.dev/client"
	"proa.dev/kinds"
	"proa.dev/kinds/all"
	"proa.dev/object"
)

// ranges is a View of some limit ranges.
type ranges []*core.LimitRange

func (r ranges) Lookup(client.Resource, object.Key) (object.Object, bool) { return nil, false }

func (r ranges) List(of client.Resource, sel client.Select) (out []object.Object) {
	for _, l := range r {
		if of == object.ResourceOf[core.LimitRange]() && l.Namespace == sel.Namespace {
			out = append(out, l)
		}
	}
	return out
}

func (r ranges) Watch(ctx context.Context, _ client.Resource, _ func(client.Event)) error {
	return ctx.Err()
}

func (r ranges) Resources() []object.Resource { return nil }

func list(of ...string) core.ResourceList {
	out := core.ResourceList{}
	for i := 0; i < len(of); i += 2 {
		out[core.ResourceName(of[i])] = resource.MustParse(of[i+1])
	}
	return out
}

func kindOf(t *testing.T, name string) *kinds.Kind {
	for _, k := range all.Kinds() {
		if k.Kind == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

func request(t *testing.T, o object.Object) *admission.Request {
	kind := object.KindOf(o).Kind
	return &admission.Request{Op: admission.Create, Kind: kindOf(t, kind), Key: object.KeyOf(o), Object: o}
}

func pod(requests, limits core.ResourceList) *core.Pod {
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: core.PodSpec{Containers: []core.Container{
		{Name: "c", Resources: core.ResourceRequirements{Requests: requests, Limits: limits}}}}}
}

func limit(items ...core.LimitRangeItem) ranges {
	return ranges{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l"}, Spec: core.LimitRangeSpec{Limits: items}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "l"}, Spec: core.LimitRangeSpec{Limits: []core.LimitRangeItem{{Type: core.LimitTypeContainer, Max: list("cpu", "1m")}}}}}
}

func TestFillsWhatIsMissing(t *testing.T) {
	p := pod(list("memory", "1Mi"), nil)
	p.Spec.InitContainers = []core.Container{{Name: "i"}}
	l := limit(core.LimitRangeItem{Type: core.LimitTypeContainer, DefaultRequest: list("cpu", "100m", "memory", "5Mi"), Default: list("cpu", "200m")})
	r := request(t, p)
	if err := (plugin{l}).admit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got := p.Spec.Containers[0].Resources
	if got.Requests.Cpu().String() != "100m" || got.Requests.Memory().String() != "1Mi" || got.Limits.Cpu().String() != "200m" {
		t.Errorf("got %v", got)
	}
	want := "LimitRanger plugin set: cpu request for container c; cpu limit for container c; cpu, memory request for init container i; cpu limit for init container i"
	if p.Annotations[told] != want {
		t.Errorf("it says %q, want %q", p.Annotations[told], want)
	}
	update := *r
	update.Op, update.Old, update.Object = admission.Update, p, pod(nil, nil)
	if err := (plugin{l}).admit(t.Context(), &update); err != nil || len(update.Object.(*core.Pod).Annotations) > 0 {
		t.Errorf("an update was filled: %v, %v", update.Object, err)
	}
}

func TestRefusesWhatIsOutside(t *testing.T) {
	container := func(l core.LimitRangeItem) core.LimitRangeItem { l.Type = core.LimitTypeContainer; return l }
	whole := func(l core.LimitRangeItem) core.LimitRangeItem { l.Type = core.LimitTypePod; return l }
	for _, tc := range []struct {
		limit core.LimitRangeItem
		pod   *core.Pod
		want  string
	}{
		{container(core.LimitRangeItem{Min: list("cpu", "1")}), pod(list("cpu", "1"), nil), ""},
		{container(core.LimitRangeItem{Min: list("cpu", "1")}), pod(nil, nil), "minimum cpu usage per Container is 1.  No request is specified"},
		{container(core.LimitRangeItem{Min: list("cpu", "1")}), pod(list("cpu", "999m"), nil), "minimum cpu usage per Container is 1, but request is 999m"},
		{container(core.LimitRangeItem{Min: list("cpu", "1")}), pod(list("cpu", "1"), list("cpu", "500m")), "minimum cpu usage per Container is 1, but limit is 500m"},
		{container(core.LimitRangeItem{Max: list("cpu", "1")}), pod(nil, nil), "maximum cpu usage per Container is 1.  No limit is specified"},
		{container(core.LimitRangeItem{Max: list("cpu", "1")}), pod(nil, list("cpu", "2")), "maximum cpu usage per Container is 1, but limit is 2"},
		{container(core.LimitRangeItem{Max: list("cpu", "1")}), pod(list("cpu", "2"), list("cpu", "1")), "maximum cpu usage per Container is 1, but request is 2"},
		{container(core.LimitRangeItem{MaxLimitRequestRatio: list("cpu", "2")}), pod(list("cpu", "1"), list("cpu", "3")), "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"},
		{container(core.LimitRangeItem{MaxLimitRequestRatio: list("cpu", "2")}), pod(nil, list("cpu", "3")), "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0"},
		{whole(core.LimitRangeItem{Max: list("cpu", "1")}), pod(nil, list("cpu", "1")), ""},
		{whole(core.LimitRangeItem{Min: list("memory", "1Gi"), Max: list("cpu", "1")}), pod(nil, list("cpu", "2")),
			"[minimum memory usage per Pod is 1Gi.  No request is specified, maximum cpu usage per Pod is 1, but limit is 2]"},
	} {
		err := plugin{limit(tc.limit)}.check(t.Context(), request(t, tc.pod))
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), `pods "p" is forbidden: `)
		}
		if got != tc.want {
			t.Errorf("got  %q\nwant %q", got, tc.want)
		}
	}
}
