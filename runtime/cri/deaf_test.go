package cri

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestDeafTo(t *testing.T) {
	text := func(blocked, ignored, caught string) string {
		return "Name:\ttop\nSigQ:\t0/1\nShdPnd:\t0000000000004000\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" + caught + "\nCapInh:\t0\n"
	}
	const none, term = "0000000000000000", "0000000000004000"
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"no handler yet", text(none, none, none), true},
		{"another signal's handler", text(none, none, "0000000000000002"), true},
		{"a handler", text(none, none, term), false},
		{"ignored", text(none, term, none), false},
		{"waited for", text(term, none, none), false},
		{"cut short", "Name:\ttop\nSigBlk:\t0000000000000000\n", false},
		{"not a mask", text(none, none, "x"), false},
		{"nothing", "", false},
	} {
		if got := deafTo(c.text, unix.SIGTERM); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
