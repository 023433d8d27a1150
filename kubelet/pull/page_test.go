package pull

import (
	"strings"
	"testing"
	"time"

	"proa.dev/kit/prom"
)

func TestPulled(t *testing.T) {
	var p Puller
	p.pulled(6*time.Second, 11<<20)
	var page prom.Page
	p.took.Page(&page, "t", "Times.", [1]string{"image_size_in_bytes"})
	for _, line := range []string{`t_bucket{image_size_in_bytes="10MB-100MB",le="5"} 0`, `t_bucket{image_size_in_bytes="10MB-100MB",le="10"} 1`} {
		if !strings.Contains(page.String(), line+"\n") {
			t.Errorf("there is no %s in\n%s", line, &page)
		}
	}
}

func TestImageSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "N/A", 1: "0-10MB", 10 << 20: "0-10MB", 10<<20 + 1: "10MB-100MB", 500 << 20: "100MB-500MB", 1 << 30: "500MB-1GB", 1<<30 + 1: "1GB-5GB",
		20<<30 + 1: "20GB-30GB", 100 << 30: "60GB-100GB", 100<<30 + 1: "GT100GB",
	} {
		if got := imageSize(n); got != want {
			t.Errorf("%d bytes are %s, want %s", n, got, want)
		}
	}
}
