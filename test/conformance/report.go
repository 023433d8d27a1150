package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// spec is one test that ran.
type spec struct {
	name, state string // state: passed or failed
	time        time.Duration
	why         string // first line of why it failed
}

// result is what became of one package.
type result struct {
	pack
	specs []spec
}

func (r result) of(state string) (out []spec) {
	for _, s := range r.specs {
		if s.state == state {
			out = append(out, s)
		}
	}
	return out
}

func (r result) String() string {
	return fmt.Sprintf("%-4s %3d of %3d passed, %d failed  %s", r.name, len(r.of("passed")), r.tests, len(r.of("failed")), r.title)
}

// ginkgoReport is what is read of Ginkgo's JSON report.
type ginkgoReport struct {
	SpecReports []struct {
		ContainerHierarchyTexts []string
		LeafNodeText            string
		LeafNodeType            string
		State                   string
		RunTime                 time.Duration
		Failure                 struct{ Message string }
	}
}

// read reads a report: the tests that ran, and as one test more what failed before them all.
func read(path string) ([]spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(data)
}

func parse(data []byte) ([]spec, error) {
	var reports []ginkgoReport
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var out []spec
	for _, report := range reports {
		for _, r := range report.SpecReports {
			if r.State == "skipped" || r.State == "pending" || r.LeafNodeType != "It" && r.State == "passed" {
				continue
			}
			s := spec{name: strings.Join(append(r.ContainerHierarchyTexts, r.LeafNodeText), " "), state: r.State, time: r.RunTime}
			if r.LeafNodeType != "It" {
				s.name = r.LeafNodeType
			}
			if s.state != "passed" { // failed, panicked, interrupted, timedout, aborted
				s.state = "failed"
				s.why, _, _ = strings.Cut(strings.TrimSpace(r.Failure.Message), "\n")
			}
			out = append(out, s)
		}
	}
	return out, nil
}
