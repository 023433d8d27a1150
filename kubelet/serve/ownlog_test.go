package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// proc is a directory as /proc/self, of a process in this cgroup that writes its log to a file with this text.
func proc(t *testing.T, cgroup, text string) string {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	if err := os.Mkdir(filepath.Join(dir, "fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{filepath.Join(dir, "cgroup"): cgroup, log: text} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(log, filepath.Join(dir, "fd", "2")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOwnLog(t *testing.T) {
	s := logServer(t)
	const old, a, b, more, c = "time=2001-01-01T00:00:00.000Z level=INFO msg=long-ago", "time=2126-01-02T03:04:05.000Z level=INFO msg=\"kubelet serves\"",
		"time=2126-01-02T03:04:06.500Z level=ERROR msg=oh", "goroutine 1 [running]:", `{"time":"2126-01-02T04:04:07Z","level":"INFO","msg":"Kubelet ends"}`
	all := strings.Join([]string{old, a, b, more, c}, "\n") + "\n"
	s.Proc = proc(t, "0::/user.slice\n", all)
	for query, want := range map[string]string{
		"kubelet":                                all,
		"proa":                                   all,
		"kubelet&tailLines=2":                    more + "\n" + c + "\n",
		"kubelet&tailLines=0":                    "",
		"kubelet&tailLines=9":                    all,
		"kubelet&pattern=kubelet":                a + "\n" + c + "\n",
		"kubelet&pattern=kubelet&tailLines=1":    c + "\n",
		"kubelet&boot=0":                         a + "\n" + b + "\n" + more + "\n" + c + "\n",
		"kubelet&boot=-1":                        "Data from the specified boot (-1) is not available.\n",
		"kubelet&sinceTime=2126-01-02T03:04:06Z": b + "\n" + more + "\n" + c + "\n",
		"kubelet&sinceTime=2126-01-02T05:00:00%2B01:00&untilTime=2126-01-03T00:00:00Z": c + "\n",
		"kubelet&untilTime=2126-01-02T03:04:05Z":                                       old + "\n" + a + "\n",
		"plain&query=proa&pattern=oh":                                                  b + "\n\noptions present and query resolved to log files for [plain]\ntry without specifying options\n",
	} {
		if code, body := ask(t, s, "GET", "/logs/?query="+query, "alice"); code != 200 || body != want {
			t.Errorf("%s: %d\n got %q\nwant %q", query, code, body, want)
		}
	}
	s.Journal = "/nonexistent"
	if _, body := ask(t, s, "GET", "/logs/?query=kubelet", "alice"); body != all {
		t.Errorf("without a journal: %q", body)
	}
}

func TestOwnUnit(t *testing.T) {
	s := logServer(t)
	if err := os.WriteFile(s.Journal, []byte(strings.ReplaceAll(journal, "ssh.service", "node.service")), 0o755); err != nil {
		t.Fatal(err)
	}
	for cgroup, unit := range map[string]string{
		"0::/system.slice/node.service\n":                                      "node",
		"5:memory:/x.service\n1:name=systemd:/system.slice/node.service\n0::/": "node",
		"0::/user.slice/session-1.scope\n":                                     "kubelet", // a real kubelet's, from before
		"0::/system.slice/other.service\n":                                     "kubelet",
	} {
		s.Proc = proc(t, cgroup, "")
		if err := os.Remove(filepath.Join(s.Proc, "fd", "2")); err != nil { // a socket to the journal is no file
			t.Fatal(err)
		}
		want := fmt.Sprintf("journal: --utc --no-pager --output=short-precise --unit=%s\n", unit)
		if _, body := ask(t, s, "GET", "/logs/?query=kubelet", "alice"); body != want {
			t.Errorf("%q: got %q, want %q", cgroup, body, want)
		}
	}
}

func FuzzWritten(f *testing.F) {
	f.Add("time=2026-01-02T03:04:05.000Z level=INFO")
	f.Add(`{"time":"2026-01-02T03:04:05Z"`)
	f.Fuzz(func(t *testing.T, line string) {
		if at, ok := written([]byte(line)); !ok && at != (time.Time{}) {
			t.Errorf("%q: %v without a time", line, at)
		}
	})
}
