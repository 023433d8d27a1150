package pull

import (
	"cmp"
	"strings"
	"sync/atomic"

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

// Page writes what was asked for, and what is known of images.
func (p *Puller) Page(page *prom.Page) {
	page.Head("kubelet_image_manager_ensure_image_requests_total", "counter", "[ALPHA] Images that containers wanted, by pull policy, whether they were there, and whether they had to be pulled.")
	p.asked.Each(func(a, b series) int {
		return cmp.Or(cmp.Compare(a.policy, b.policy), cmp.Compare(a.present, b.present), cmp.Compare(a.pull, b.pull))
	}, func(s series, n *atomic.Int64) {
		page.Value(prom.Labels("pull_policy", strings.ToLower(string(s.policy)), "present_locally", string(s.present), "pull_required", string(s.pull)), float64(n.Load()))
	})
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
