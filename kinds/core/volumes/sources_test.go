package volumes

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

// fill sets every pointer of a struct of sources and returns their names in JSON.
func fill(v reflect.Value) (names []string) {
	for i := range v.NumField() {
		v.Field(i).Set(reflect.New(v.Field(i).Type().Elem()))
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "cephfs" {
			name = "cephFS" // as errors have it
		}
		names = append(names, name)
	}
	return names
}

// Every source is known, under its name, and first is looked at what Kubernetes looks at first.
func TestSources(t *testing.T) {
	var pod core.VolumeSource
	want := fill(reflect.ValueOf(&pod).Elem())
	got := Sources(&pod)
	if got[0] != "emptyDir" || got[2] != "gitRepo" || got[len(got)-1] != "image" {
		t.Errorf("sources of pods stand in another order: %v", got)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("sources of pods: %v, want %v", got, want)
	}
	var persistent core.PersistentVolumeSource
	want = fill(reflect.ValueOf(&persistent).Elem())
	got = PersistentSources(&persistent)
	if got[0] != "hostPath" || got[5] != "nfs" || got[len(got)-1] != "csi" {
		t.Errorf("sources of persistent volumes stand in another order: %v", got)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("sources of persistent volumes: %v, want %v", got, want)
	}
	if got := Sources(&core.VolumeSource{}); len(got) > 0 {
		t.Errorf("sources of none: %v", got)
	}
}
