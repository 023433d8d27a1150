package kubelet

import "proa.dev/kit/prom"

// Page is what the parts of the kubelet have for the page of metrics, once pods run.
func (k *Kubelet) Page() string {
	p := &prom.Page{}
	for _, write := range k.metrics() {
		write(p)
	}
	return p.String()
}
