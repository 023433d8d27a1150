package pulled

import (
	"cmp"
	"sync/atomic"

	"proa.dev/kit/prom"
)

// checks counts verdicts.
type checks struct {
	prom.Vec[verdict, atomic.Int64]
}

func (c *checks) add(v verdict) { c.Get(v, nil).Add(1) }

// Page writes how many files there are, and what they said. There is no share of a cache to be told: all of them are in memory.
func (r *Records) Page(p *prom.Page) {
	r.mu.RLock()
	intents, records := len(r.intents), len(r.images)
	r.mu.RUnlock()
	p.Head("kubelet_imagemanager_ondisk_pullintents", "gauge", "[ALPHA] Pulls of images that are under way or were broken off: files on the disk.")
	p.Value("", float64(intents))
	p.Head("kubelet_imagemanager_ondisk_pulledrecords", "gauge", "[ALPHA] Images of which it is known by whom they were pulled: files on the disk.")
	p.Value("", float64(records))
	p.Head("kubelet_imagemanager_image_mustpull_checks_total", "counter", "[ALPHA] How often it was asked whether a pod may use an image that is on the node, by what came of it.")
	r.checks.Each(cmp.Compare, func(v verdict, n *atomic.Int64) { p.Value(prom.Labels("result", string(v)), float64(n.Load())) })
}

// Settings are the fields of a KubeletConfiguration that are decided here.
func (r *Records) Settings() map[string]any {
	out := map[string]any{"imagePullCredentialsVerificationPolicy": r.policy.Verify}
	if len(r.policy.Allow) > 0 {
		out["preloadedImagesVerificationAllowlist"] = r.policy.Allow
	}
	return out
}
