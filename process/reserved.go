package process

import (
	"fmt"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"proa.dev/config"
	"proa.dev/kubelet/evict"
	"proa.dev/kubelet/imagegc"
	"proa.dev/kubelet/pull"
	"proa.dev/kubelet/pulled"
	"proa.dev/kubelet/shutdown"
)

// reservedOf is what the configuration keeps from pods: the sums of both maps.
func reservedOf(c config.Kubelet) (core.ResourceList, error) {
	out := core.ResourceList{}
	for key, m := range map[string]map[string]string{"systemReserved": c.SystemReserved, "kubeReserved": c.KubeReserved} {
		for name, text := range m {
			switch name {
			case "cpu", "memory", "ephemeral-storage", "pid":
			default:
				return nil, fmt.Errorf("kubelet.%s: %q is not one of cpu, memory, ephemeral-storage, pid", key, name)
			}
			q, err := resource.ParseQuantity(text)
			if err != nil || q.Sign() < 0 {
				return nil, fmt.Errorf("kubelet.%s: %s: %q is not a quantity such as 500m or 1Gi", key, name, text)
			}
			if name == "pid" {
				continue // process ids are nothing that the node shares out
			}
			sum := out[core.ResourceName(name)]
			sum.Add(q)
			out[core.ResourceName(name)] = sum
		}
	}
	set, err := reservedCPUs(c)
	if !set.IsEmpty() {
		out[core.ResourceCPU] = *resource.NewQuantity(int64(set.Size()), resource.DecimalSI)
	}
	return out, err
}

func evictionOf(c config.Kubelet) evict.Config {
	return evict.Config{
		Hard: c.EvictionHard, Soft: c.EvictionSoft, SoftGrace: c.EvictionSoftGracePeriod, MinimumReclaim: c.EvictionMinimumReclaim,
		MaxGrace: time.Duration(c.EvictionMaxPodGracePeriod) * time.Second, Transition: c.EvictionPressureTransitionPeriod,
	}
}

// imageGCOf is when images are removed.
func imageGCOf(c config.Kubelet) imagegc.Policy {
	return imagegc.Policy{High: c.ImageGCHighThresholdPercent, Low: c.ImageGCLowThresholdPercent, MinAge: c.ImageMinimumGCAge, MaxAge: c.ImageMaximumGCAge}
}

// pullsOf is how images come to the node.
func pullsOf(c config.Kubelet) pull.Config {
	p := pull.Config{
		Parallel: c.MaxParallelImagePulls, PerSecond: c.RegistryPullQPS, Burst: c.RegistryBurst,
		Verify: pulled.Policy{Verify: c.ImagePullCredentialsVerificationPolicy, Allow: c.PreloadedImagesVerificationAllowlist},
	}
	if c.SerializeImagePulls {
		p.Parallel = 1
	}
	return p
}

// shutdownOf is how long pods have when the machine goes down.
func shutdownOf(c config.Kubelet) (s shutdown.Config) {
	for _, p := range c.ShutdownGracePeriodByPodPriority {
		s.Periods = append(s.Periods, shutdown.Period{Priority: p.Priority, Seconds: p.ShutdownGracePeriodSeconds})
	}
	if len(s.Periods) == 0 {
		s.Periods = shutdown.Periods(c.ShutdownGracePeriod, c.ShutdownGracePeriodCriticalPods)
	}
	return s
}
