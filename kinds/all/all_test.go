package all

import (
	"testing"
	"time"

	"proa.dev/object"
)

// Every kind has to survive its own empty object: clients send those.
func TestEmptyObjects(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, k := range Kinds() {
		t.Run(k.Resource.GroupVersionResource.String(), func(t *testing.T) {
			o := k.New()
			k.Default(o)
			k.Prepare(o, nil)
			k.Validate(o)
			k.Fields(o)
			k.Warn(o, nil)
			if got, want := len(k.Row(o, now)), len(k.Columns); got != want && !k.Virtual && k.Kind != "IPAddress" { // see there
				t.Errorf("got %d cells, want %d as there are columns", got, want)
			}
			old := o.DeepCopyObject().(object.Object)
			k.Prepare(o, old)
			k.ValidateUpdate(o, old)
			k.PrepareStatus(o, old)
			k.ValidateStatus(o, old)
			k.Warn(o, old)
			if k.Scale != nil {
				k.Scale.Set(o, 3)
				if got := k.Scale.Get(o).Spec; got != 3 {
					t.Errorf("got %d replicas, want 3", got)
				}
			}
		})
	}
}
