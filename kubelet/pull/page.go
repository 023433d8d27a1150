package pull

import (
	"cmp"
	"strings"
	"sync/atomic"
	"time"

	core "k8s.io/api/core/v1"

	"proa.dev/kit/prom"
)

// answer is a label's value: whether an image was there, whether it had to be pulled.
type answer string

const (
	yes     answer = "true"
	no      answer = "false"
	unknown answer = "unknown"
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// requests counts what was asked of Ensure.
type requests struct {
	prom.Vec[series, atomic.Int64]
}

type series struct {
	policy        core.PullPolicy
	present, pull answer
}

func (r *requests) add(policy core.PullPolicy, present, pull answer) {
	r.Get(series{policy, present, pull}, nil).Add(1)
}

// pulled counts a pull that succeeded.
func (p *Puller) pulled(took time.Duration, size uint64) {
	p.took.Add(func() *prom.Scale {
		return prom.Seconds(1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600)
	}, [1]string{imageSize(size)}, int64(took))
}

// imageSize is the class of an image of so many bytes.
func imageSize(n uint64) string {
	const mib, gib = 1 << 20, 1 << 30
	if n == 0 {
		return "N/A"
	}
	for _, class := range []struct {
		above uint64
		name  string
	}{
		{100 * gib, "GT100GB"}, {60 * gib, "60GB-100GB"}, {40 * gib, "40GB-60GB"}, {30 * gib, "30GB-40GB"}, {20 * gib, "20GB-30GB"}, {10 * gib, "10GB-20GB"},
		{5 * gib, "5GB-10GB"}, {gib, "1GB-5GB"}, {500 * mib, "500MB-1GB"}, {100 * mib, "100MB-500MB"}, {10 * mib, "10MB-100MB"},
	} {
		if n > class.above {
			return class.name
		}
	}
	return "0-10MB"
}

// Page writes what was asked for, and what is known of images.
func (p *Puller) Page(page *prom.Page) {
	page.Head("kubelet_image_manager_ensure_image_requests_total", "counter", "[ALPHA] Images that containers wanted, by pull policy, whether they were there, and whether they had to be pulled.")
	p.asked.Each(func(a, b series) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), cmp.Compare(a.present, b.present), cmp.Compare(a.pull, b.pull))
	}, func(s series, n *atomic.Int64) {
		page.Value(prom.Labels("pull_policy", strings.ToLower(string(s.policy)), "present_locally", string(s.present), "pull_required", string(s.pull)), float64(n.Load()))
	})
	p.took.Page(page, "kubelet_image_pull_duration_seconds", "[ALPHA] How long pulls of images took, the wait for others included.", [1]string{"image_size_in_bytes"})
	p.Records.Page(page)
}

// Settings are the fields of a KubeletConfiguration that are decided here.
func (p *Puller) Settings() map[string]any {
	out := p.Records.Settings()
	out["serializeImagePulls"], out["registryPullQPS"], out["registryBurst"] = p.Parallel == 1, p.PerSecond, int(p.rate.burst)
	if p.Parallel > 0 {
		out["maxParallelImagePulls"] = p.Parallel
	}
	return out
}
