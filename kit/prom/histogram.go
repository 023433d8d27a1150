package prom

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Scale is the buckets of histograms.
type Scale struct {
	bounds []int64 // upper ends
	text   []string
	unit   float64 // how many of what is added are one of what is shown
}

// Seconds is a scale of durations, by the upper ends of its buckets.
func Seconds(bounds ...float64) *Scale { return newScale(float64(time.Second), bounds) }

// Milliseconds is the same, where they are shown in these.
func Milliseconds(bounds ...float64) *Scale { return newScale(float64(time.Millisecond), bounds) }

// Plain is a scale of plain numbers.
func Plain(bounds ...float64) *Scale { return newScale(1, bounds) }

func newScale(unit float64, bounds []float64) *Scale {
	s := &Scale{unit: unit}
	for _, b := range bounds {
		s.bounds = append(s.bounds, int64(b*unit))
		s.text = append(s.text, number(b))
	}
	s.text = append(s.text, "+Inf")
	return s
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Histogram counts values by their size. Make it with New.
type Histogram struct {
	scale   *Scale
	buckets []atomic.Int64
	sum     atomic.Int64
}

// New is an empty histogram.
func (s *Scale) New() *Histogram {
	return &Histogram{scale: s, buckets: make([]atomic.Int64, len(s.bounds)+1)}
}

// Add counts a value: nanoseconds where the scale is one of durations.
func (h *Histogram) Add(n int64) {
	low, high := 0, len(h.scale.bounds)
	for low < high {
		if mid := (low + high) / 2; n > h.scale.bounds[mid] {
			low = mid + 1
		} else {
			high = mid
		}
	}
	h.buckets[low].Add(1)
	h.sum.Add(n)
}

// Count is how many values there were.
func (h *Histogram) Count() (n int64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}
