package process

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestPace plays looks at a process that grows and works.
func TestPace(t *testing.T) {
	p := pace{low: 30} // as after the start
	for i, l := range []struct {
		cpu      time.Duration // since the look before
		resident int64
		want     bool
		why      string
	}{
		{time.Second, 75, true, "what the first minute needed, too"},
		{time.Second, 60, false, "that is what everyday work needs"},
		{time.Second, 70, false, "little more"},
		{time.Minute, 150, false, "work is under way"},
		{time.Second, 150, true, "it is over"},
		{time.Minute, 200, false, "work again, before the first calm look"},
		{time.Second, 100, false, "now everyday work needs more"},
		{time.Second, 120, false, "little more than that"},
		{time.Second, 50, false, "less"},
		{time.Second, 63, true, "a quarter more"},
	} {
		if got := p.look(p.used+l.cpu, l.resident); got != l.want {
			t.Errorf("look %d (%s): %v", i, l.why, got)
		}
	}
}

// TestWeigh compares with what the test does.
func TestWeigh(t *testing.T) {
	cpu, resident, err := weigh()
	if err != nil || cpu <= 0 || resident < 1<<20 || resident > 1<<32 {
		t.Errorf("%s, %d bytes, %v", cpu, resident, err)
	}
}

// TestDropFiles gives the test's own program back, and goes on with it.
func TestDropFiles(t *testing.T) {
	before := clean(t)
	if err := dropFiles(); err != nil {
		t.Fatal(err)
	}
	if after := clean(t); after >= before {
		t.Errorf("%d kB of the program are resident, before it were %d", after, before)
	}
}

// clean is how much of files is resident, in kB. A file on a tmpfs counts as shared memory.
func clean(t *testing.T) (sum int) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"RssFile:", "RssShmem:"} {
		_, rest, ok := strings.Cut(string(data), name)
		if !ok {
			t.Fatalf("no %s in %s", name, data)
		}
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
