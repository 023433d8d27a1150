package inspect

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Flagz answers /flagz of a component with what flags returns: its settings, by name.
func Flagz(component string, flags func() map[string]string) http.Handler {
	return page{component: component, kind: "Flagz",
		text: func(w *bytes.Buffer) {
			all := flags()
			for _, name := range slices.Sorted(maps.Keys(all)) {
				fmt.Fprintf(w, "%s: %s\n", name, all[name])
			}
		},
		data: func() map[string]any { return map[string]any{"flags": flags()} },
	}
}
