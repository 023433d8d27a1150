package keeper_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"proa.dev/kit/roottest"
	"proa.dev/runtime/keeper"
	"proa.dev/runtime/keeper/wire"
	"proa.dev/runtime/oci/ocitest"
)

func BenchmarkSpawn(b *testing.B) {
	roottest.Need(b, "namespaces")
	bin, err := keeper.OpenBinary(ocitest.KeeperPath(b))
	if err != nil {
		b.Fatal(err)
	}
	defer bin.Close()
	for _, host := range []bool{true, false} {
		b.Run("host="+strconv.FormatBool(host), func(b *testing.B) {
			var took, born []time.Duration
			for b.Loop() {
				dir := filepath.Join(b.TempDir(), "k")
				from := time.Now()
				k, err := bin.Spawn(b.Context(), keeper.Spec{Setup: wire.Setup{ID: "x", Dir: dir, Loopback: !host}, HostNetwork: host, HostIPC: host, HostUTS: host},
					func(int) error { born = append(born, time.Since(from)); return nil })
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(from))
				b.StopTimer()
				k.Stop(b.Context())
				k.Watch(b.Context(), func(wire.State) {}, nil)
				b.StartTimer()
			}
			slices.Sort(took)
			slices.Sort(born)
			b.ReportMetric(float64(took[0].Microseconds()), "µs-min")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(born[0].Microseconds()), "µs-born-min")
			b.ReportMetric(float64(born[len(took)/2].Microseconds()), "µs-born-p50")
		})
	}
	b.Run("true", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			from := time.Now()
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(from))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[0].Microseconds()), "µs-min")
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	})
}

func TestMain(m *testing.M) {
	code := m.Run()
	ocitest.CleanUp()
	os.Exit(code)
}
