package markers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	got, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]Marker{
		"k8s.io/api/core/v1.Container ports":                         {List: "map", Keys: []string{"containerPort", "protocol"}},
		"k8s.io/api/core/v1.PullPolicy -":                            {Enum: []string{"Always", "IfNotPresent", "Never"}},
		"k8s.io/api/core/v1.ObjectReference -":                       {Map: "atomic"},
		"k8s.io/api/core/v1.ContainerPort protocol":                  {Default: `"TCP"`},
		"k8s.io/api/core/v1.AzureDiskVolumeSource cachingMode":       {Default: `"ReadWrite"`},
		"k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta finalizers": {List: "set"},
	} {
		if d := cmp.Diff(want, got[key]); d != "" {
			t.Errorf("%s (-want +got):\n%s", key, d)
		}
	}
}

func TestMalformed(t *testing.T) {
	var m Marker
	if err := m.set("nonsense=1"); err == nil {
		t.Error("an unknown word passes")
	}
}
