package prom

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// ContentType is that of a Page.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Page is a text with metrics. The zero value is empty.
type Page struct {
	bytes.Buffer
	name string // of the metric under way
}

// Head begins a metric: its name, "counter", "gauge" or "histogram", and what it counts.
func (p *Page) Head(name, kind, help string) {
	p.name = name
	p.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// Labels is names and values, in turns, as a series has them: `a="b",c="d"`.
func Labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i])
		b.WriteString(`="`)
		b.WriteString(escaper.Replace(pairs[i+1]))
		b.WriteByte('"')
	}
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Value adds one series of the metric under way.
func (p *Page) Value(labels string, v float64) { p.series("", labels, "", number(v)) }

// ValueAt adds one series with the time at which it was read, if that is known.
func (p *Page) ValueAt(labels string, v float64, at time.Time) {
	text := number(v)
	if !at.IsZero() {
		text += " " + strconv.FormatInt(at.UnixMilli(), 10)
	}
	p.series("", labels, "", text)
}

func (p *Page) series(suffix, labels, le, value string) {
	p.WriteString(p.name)
	p.WriteString(suffix)
	if le != "" {
		if labels != "" {
			labels += ","
		}
		labels += `le="` + le + `"`
	}
	if labels != "" {
		p.WriteByte('{')
		p.WriteString(labels)
		p.WriteByte('}')
	}
	p.WriteByte(' ')
	p.WriteString(value)
	p.WriteByte('\n')
}

// Histogram adds one series of the metric under way. One that has counted nothing is left out.
func (p *Page) Histogram(labels string, h *Histogram) {
	if h == nil || h.Count() == 0 {
		return
	}
	var n int64
	for i := range h.buckets {
		n += h.buckets[i].Load()
		p.series("_bucket", labels, h.scale.text[i], strconv.FormatInt(n, 10))
	}
	p.series("_sum", labels, "", number(float64(h.sum.Load())/h.scale.unit))
	p.series("_count", labels, "", strconv.FormatInt(n, 10))
}
