package inspect

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"
)

// Build says what runs, and since when.
type Build struct {
	Started   time.Time
	Version   string   // of the API that is served, without a "v": "1.37.2"
	Emulation string   // the version that it behaves as: "1.37"
	Paths     []string // worth a look, sorted
}

// Statusz answers /statusz of a component.
func Statusz(component string, b Build) http.Handler {
	up := func() time.Duration { return time.Since(b.Started) }
	return page{component: component, kind: "Statusz",
		text: func(w *bytes.Buffer) {
			s := int(up().Seconds())
			fmt.Fprintf(w, "\nStarted: %s\nUp: %d hr %02d min %02d sec\nGo version: %s\nBinary version: %s\nEmulation version: %s\nPaths: %s\n",
				b.Started.UTC().Format(time.UnixDate), s/3600, s/60%60, s%60, runtime.Version(), b.Version, b.Emulation, strings.Join(b.Paths, " "))
		},
		data: func() map[string]any {
			return map[string]any{
				"startTime": b.Started.UTC().Format(time.RFC3339), "uptimeSeconds": int64(up().Seconds()), "goVersion": runtime.Version(),
				"binaryVersion": b.Version, "emulationVersion": b.Emulation, "paths": b.Paths,
			}
		},
	}
}
