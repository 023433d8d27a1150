package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Check finds what cannot work, every mistake at once. It expects a completed Config.
func (c *Config) Check() error {
	var errs []error
	bad := func(key, format string, args ...any) { errs = append(errs, fmt.Errorf(key+": "+format, args...)) }
	if !nodeName.MatchString(c.Node) || len(c.Node) > 253 {
		bad("node", "%q is not a DNS name in lower case; set it in the configuration or with --node", c.Node)
	}
	for key, dir := range map[string]string{"dataDir": c.DataDir, "runDir": c.RunDir, "kubeletDir": c.KubeletDir, "cgroupParent": c.CgroupParent} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
			bad(key, "%q is not an absolute path below /", dir)
		}
	}
	// A unix socket's path holds 107 bytes, and keepers keep theirs in here.
	if len(c.RunDir) > 60 {
		bad("runDir", "%q is longer than 60 characters, too long for the sockets in it", c.RunDir)
	}
	for _, part := range c.Disable {
		if !slices.Contains(Parts, part) {
			bad("disable", "%q is not one of %s", part, strings.Join(Parts, ", "))
		}
	}
	for key, addr := range map[string]string{"api.listen": c.API.Listen, "kubelet.listen": c.Kubelet.Listen} {
		if _, err := netip.ParseAddrPort(addr); err != nil {
			bad(key, "%q is not address:port", addr)
		}
	}
	c.checkRanges(bad)
	c.checkShutdown(bad)
	c.checkImages(bad)
	if b := c.Kubelet.MemorySwap.SwapBehavior; !slices.Contains([]string{"", "LimitedSwap", "NoSwap"}, b) {
		bad("kubelet.memorySwap.swapBehavior", "%q must be one of: \"\", \"LimitedSwap\" or \"NoSwap\"", b)
	}
	if len(c.Etcd.Servers) > 0 && (c.Etcd.Cert == "") != (c.Etcd.Key == "") {
		bad("etcd", "cert and key go together")
	}
	for key, path := range map[string]string{"api.authentication": c.API.Authentication, "api.tokenWebhook": c.API.TokenWebhook, "api.authorization": c.API.Authorization,
		"api.podSecurity": c.API.PodSecurity} {
		if path != "" && !filepath.IsAbs(path) {
			bad(key, "%q is not an absolute path", path)
		}
	}
	if life := c.API.MaxTokenLife; life != 0 && life < time.Hour {
		bad("api.maxTokenLife", "%v is less than an hour", life)
	}
	if chance := c.API.GoawayChance; chance < 0 || chance > 0.02 {
		bad("api.goawayChance", "%v is not 0 to 0.02", chance)
	}
	for key, d := range map[string]time.Duration{"period": c.Autoscaling.Period, "stabilization": c.Autoscaling.Stabilization,
		"cpuInitialization": c.Autoscaling.CPUInitialization, "readinessDelay": c.Autoscaling.ReadinessDelay} {
		if d < 0 || key == "period" && d > 0 && d < time.Second {
			bad("autoscaling."+key, "%v is too short", d)
		}
	}
	if t := c.Autoscaling.Tolerance; t < 0 || t >= 1 {
		bad("autoscaling.tolerance", "%v is not 0 to 1", t)
	}
	if !slices.Contains([]string{"", "blocking", "blocking-strict", "batch"}, c.API.Audit.Mode) {
		bad("api.audit.mode", "%q is not blocking, blocking-strict or batch", c.API.Audit.Mode)
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		bad("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "%q is not text or json", c.Log.Format)
	}
	return errors.Join(errs...)
}

func (c *Config) checkImages(bad func(key, format string, args ...any)) {
	k := &c.Kubelet
	high, low := cmp.Or(k.ImageGCHighThresholdPercent, 85), cmp.Or(k.ImageGCLowThresholdPercent, 80)
	if high < 0 || high > 100 || low < 0 || low > 100 {
		bad("kubelet.imageGCHighThresholdPercent", "%d and imageGCLowThresholdPercent %d are not both 0 to 100", high, low)
	} else if low >= high {
		bad("kubelet.imageGCLowThresholdPercent", "%d is not less than imageGCHighThresholdPercent, %d", low, high)
	}
	if least, most := k.ImageMinimumGCAge, k.ImageMaximumGCAge; least < 0 || most < 0 || most != 0 && most <= least {
		bad("kubelet.imageMaximumGCAge", "%v is neither 0 nor more than imageMinimumGCAge, %v", most, least)
	}
	if k.MaxParallelImagePulls < 0 {
		bad("kubelet.maxParallelImagePulls", "%d is less than 0", k.MaxParallelImagePulls)
	} else if k.SerializeImagePulls && k.MaxParallelImagePulls > 1 {
		bad("kubelet.maxParallelImagePulls", "%d is more than one after the other, which serializeImagePulls asks for", k.MaxParallelImagePulls)
	}
	if k.RegistryPullQPS < 0 || k.RegistryBurst < 0 {
		bad("kubelet.registryPullQPS", "%d and registryBurst %d are not both 0 or more", k.RegistryPullQPS, k.RegistryBurst)
	}
	if most := k.CrashLoopBackOff.MaxContainerRestartPeriod; most != 0 && (most < time.Second || most > 5*time.Minute) {
		bad("kubelet.crashLoopBackOff.maxContainerRestartPeriod", "%v is not 1s to 5m", most)
	}
	if (k.ImageCredentialProviderConfig == "") != (k.ImageCredentialProviderBinDir == "") {
		bad("kubelet.imageCredentialProviderConfig", "it goes together with imageCredentialProviderBinDir")
	}
	for name, r := range c.Runtime.Registries {
		if (r.Cert == "") != (r.Key == "") {
			bad("runtime.registries."+name, "cert and key go together")
		}
	}
}

func (c *Config) checkShutdown(bad func(key, format string, args ...any)) {
	k := &c.Kubelet
	for key, d := range map[string]time.Duration{"shutdownGracePeriod": k.ShutdownGracePeriod, "shutdownGracePeriodCriticalPods": k.ShutdownGracePeriodCriticalPods} {
		if d != 0 && d < time.Second {
			bad("kubelet."+key, "%v is neither 0 nor a second or more", d)
		}
	}
	if k.ShutdownGracePeriodCriticalPods > k.ShutdownGracePeriod {
		bad("kubelet.shutdownGracePeriodCriticalPods", "%v is more than shutdownGracePeriod, %v", k.ShutdownGracePeriodCriticalPods, k.ShutdownGracePeriod)
	}
	if len(k.ShutdownGracePeriodByPodPriority) > 0 && k.ShutdownGracePeriod > 0 {
		bad("kubelet.shutdownGracePeriodByPodPriority", "it does not go together with shutdownGracePeriod")
	}
	for _, p := range k.ShutdownGracePeriodByPodPriority {
		if p.ShutdownGracePeriodSeconds < 0 {
			bad("kubelet.shutdownGracePeriodByPodPriority", "%d seconds for priority %d", p.ShutdownGracePeriodSeconds, p.Priority)
		}
	}
}

func (c *Config) checkRanges(bad func(key, format string, args ...any)) {
	for key, ranges := range map[string][]netip.Prefix{"network.pods": c.Network.Pods, "network.services": c.Network.Services} {
		if len(ranges) == 0 || len(ranges) > 2 || len(ranges) == 2 && ranges[0].Addr().Is4() == ranges[1].Addr().Is4() {
			bad(key, "want one range, or one of each address family")
		}
		for _, r := range ranges {
			if !r.IsValid() || r.Masked() != r {
				bad(key, "%s is not a range: did you mean %s?", r, r.Masked())
			}
		}
	}
	for _, p := range c.Network.Pods {
		for _, s := range c.Network.Services {
			if p.Overlaps(s) {
				bad("network", "pods %s and services %s overlap", p, s)
			}
		}
	}
	if !slices.ContainsFunc(c.Network.Services, func(p netip.Prefix) bool { return p.Contains(c.Network.DNS) }) {
		bad("network.dns", "%s is not inside network.services", c.Network.DNS)
	}
	if _, _, err := c.Network.PortRange(); err != nil {
		bad("network.nodePorts", "%v", err)
	}
}

// PortRange reads NodePorts: first and last port, both inclusive.
func (n *Network) PortRange() (first, last int, err error) {
	if _, err := fmt.Sscanf(n.NodePorts, "%d-%d", &first, &last); err != nil || first < 1 || last > 65535 || first > last {
		return 0, 0, fmt.Errorf("%q is not first-last, as in 30000-32767", n.NodePorts)
	}
	return first, last, nil
}
