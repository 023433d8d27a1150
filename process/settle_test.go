package process

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestDropProgram gives the test's own program back, and goes on with it.
func TestDropProgram(t *testing.T) {
	before := clean(t)
	if err := dropProgram(); err != nil {
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
