package upkeep

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/kubelet/evict"
)

// Settings are the fields of a KubeletConfiguration that are decided here.
func (u *Upkeep) Settings() map[string]any {
	hard := u.Eviction.Hard
	if hard == nil {
		hard = evict.DefaultHard()
	}
	images, kept := u.ImageGC.Complete(), u.Logs.Complete()
	out := map[string]any{
		"imageGCHighThresholdPercent": images.High, "imageGCLowThresholdPercent": images.Low, "imageMinimumGCAge": images.MinAge.String(),
		"imageMaximumGCAge":           images.MaxAge.String(),
		"containerLogMaxSize":         resource.NewQuantity(kept.MaxSize, resource.BinarySI).String(),
		"containerLogMaxFiles":        kept.MaxFiles,
		"containerLogMaxWorkers":      kept.Workers,
		"containerLogMonitorInterval": kept.Interval.String(),
		"evictionHard":                hard, "evictionPressureTransitionPeriod": cmp.Or(u.Eviction.Transition, 5*time.Minute).String(),
		"evictionMaxPodGracePeriod": int(u.Eviction.MaxGrace / time.Second),
	}
	for key, m := range map[string]map[string]string{
		"evictionSoft": u.Eviction.Soft, "evictionSoftGracePeriod": u.Eviction.SoftGrace, "evictionMinimumReclaim": u.Eviction.MinimumReclaim,
	} {
		if len(m) > 0 {
			out[key] = m
		}
	}
	var periods []map[string]any
	for _, p := range u.Shutdown.Periods {
		periods = append(periods, map[string]any{"priority": p.Priority, "shutdownGracePeriodSeconds": p.Seconds})
	}
	if len(periods) > 0 {
		out["shutdownGracePeriodByPodPriority"] = periods
	}
	return out
}
