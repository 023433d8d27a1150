package node

import (
	"strings"
	"testing"
	"time"

	"proa.dev/kit/prom"
)

// Only a node that is new to the API tells how long it took to come up, each step after the one before.
func TestStartup(t *testing.T) {
	boot := time.Unix(1000, 0)
	at := func(s int) time.Time { return boot.Add(time.Duration(s) * time.Second) }
	s := startup{began: at(5)}
	page := func() string {
		var p prom.Page
		s.page(&p, boot)
		var out string
		for _, line := range values(p.String()) {
			out += line + " "
		}
		return out
	}
	s.isReady(at(6))
	if got := page(); got != "" {
		t.Errorf("a node that was there before tells %s", got)
	}
	s.tries(at(7))
	s.tries(at(8))
	s.registers(at(10))
	s.isReady(at(14))
	s.isReady(at(15))
	if got, want := page(), "5 2 3 4 14 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// values are those of the lines that are no comments.
func values(page string) (out []string) {
	for line := range strings.Lines(page) {
		if _, v, ok := strings.Cut(strings.TrimSpace(line), "seconds "); ok && line[0] != '#' {
			out = append(out, v)
		}
	}
	return out
}
