package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

func (b *bench) write() error {
	var md strings.Builder
	fmt.Fprintf(&md, "%s, %d cores, %s\n\n| measure | today | first | goal |\n|---|---|---|---|\n",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	for _, r := range b.rows {
		fmt.Fprintf(&md, "| %s | %s | %s | %s |\n", r.Measure, r.Today, r.First, r.Goal)
	}
	if err := os.WriteFile(b.out+".md", []byte(md.String()), 0o644); err != nil {
		return err
	}
	data, err := json.MarshalIndent(b.rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(b.out+".json", data, 0o644)
}

// spread is a set of durations.
type spread []time.Duration

// at is the quantile q (0 to 1), by nearest rank.
func (s spread) at(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// ms prints a duration as whole or tenths of milliseconds.
func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/1e6)
}

// median is "median (min-max)".
func (s spread) median() string {
	return fmt.Sprintf("%s (%s-%s)", ms(s.at(0.5)), ms(s.at(0)), ms(s.at(1)))
}
