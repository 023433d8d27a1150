package main

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPackages(t *testing.T) {
	sum := 0
	for _, p := range packs {
		sum += p.tests
		for _, pattern := range append(p.files, p.focus, p.skip) {
			if _, err := regexp.Compile(pattern); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
		}
	}
	if sum != 446 {
		t.Errorf("got %d tests in all packages, want 446", sum)
	}
}

func TestShare(t *testing.T) {
	var specs []spec
	for i := range 7 {
		specs = append(specs, spec{name: fmt.Sprintf("[sig-a] %d (x)", i)})
	}
	specs = append(specs, spec{name: "[sig-a] all nodes [Serial]"})
	side, alone := share(specs, 3, rand.New(rand.NewPCG(1, 0)))
	if len(side) != 3 || !cmp.Equal(alone, []string{"[sig-a] all nodes [Serial]"}) {
		t.Errorf("got %d processes and %q alone", len(side), alone)
	}
	dealt := slices.Concat(side...)
	slices.Sort(dealt)
	if len(slices.Compact(dealt)) != 7 {
		t.Errorf("not every test has one process: %q", side)
	}
	for _, names := range side {
		if n := len(names); n < 2 || n > 3 {
			t.Errorf("a process has %d of 7 tests", n)
		}
		p := regexp.MustCompile(only(pack{}, slices.Clone(names)).exact)
		for _, s := range specs {
			if got := p.MatchString(s.name); got != slices.Contains(names, s.name) {
				t.Errorf("%s matches %q: %v", p, s.name, got)
			}
		}
	}
}

func TestParse(t *testing.T) {
	got, err := parse([]byte(`[{"SpecReports":[
		{"LeafNodeType":"SynchronizedBeforeSuite","State":"passed"},
		{"ContainerHierarchyTexts":["[sig-a] A","b"],"LeafNodeText":"works","LeafNodeType":"It","State":"passed","RunTime":2000000000},
		{"ContainerHierarchyTexts":["[sig-a] A"],"LeafNodeText":"hangs","LeafNodeType":"It","State":"timedout","Failure":{"Message":"too late\nmore"}},
		{"LeafNodeText":"other","LeafNodeType":"It","State":"skipped"}]}]`))
	want := []spec{
		{name: "[sig-a] A b works", state: "passed", time: 2 * time.Second},
		{name: "[sig-a] A hangs", state: "failed", why: "too late"},
	}
	if err != nil || !cmp.Equal(got, want, cmp.AllowUnexported(spec{})) {
		t.Fatalf("error %v, difference (-got +want):\n%s", err, cmp.Diff(got, want, cmp.AllowUnexported(spec{})))
	}
	text := summary([]result{{pack{name: "P0", title: "all", tests: 3}, got}})
	for _, line := range []string{"| P0 all | 3 | 1 | 1 | 1 |", "- P0: [sig-a] A hangs (0s)", "  too late"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in the summary:\n%s", line, text)
		}
	}
}
