package podresources

import (
	"path"
	"strings"

	"proa.dev/kit/prom"
)

// Answers counts requests by the version of the service. The zero value is ready.
type Answers struct {
	all                                prom.Counts[[1]string]
	lists, gets, allocatables          prom.Counts[[1]string]
	badLists, badGets, badAllocatables prom.Counts[[1]string]
}

// add counts a request by its full method, /v1.PodResourcesLister/List.
func (a *Answers) add(method string, err error) {
	version, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), ".")
	k := [1]string{version}
	a.all.Add(k, 1)
	good, bad := &a.lists, &a.badLists
	switch path.Base(method) {
	case "Get":
		good, bad = &a.gets, &a.badGets
	case "GetAllocatableResources":
		good, bad = &a.allocatables, &a.badAllocatables
	}
	good.Add(k, 1)
	if err != nil {
		bad.Add(k, 1)
	}
}

// Page writes them.
func (a *Answers) Page(p *prom.Page) {
	label := [1]string{"server_api_version"}
	for _, c := range []struct {
		counts *prom.Counts[[1]string]
		name   string
		help   string
	}{
		{&a.all, "total", "[ALPHA] Requests to the pod-resources API."},
		{&a.lists, "list", "[ALPHA] Those that list."},
		{&a.allocatables, "get_allocatable", "[ALPHA] Those that ask what there is to be given."},
		{&a.gets, "get", "[ALPHA] Those that ask for one pod."},
	} {
		c.counts.Page(p, "kubelet_pod_resources_endpoint_requests_"+c.name, c.help, label)
	}
	a.badLists.Page(p, "kubelet_pod_resources_endpoint_errors_list", "[ALPHA] Lists that failed.", label)
	a.badAllocatables.Page(p, "kubelet_pod_resources_endpoint_errors_get_allocatable", "[ALPHA] Failures to tell what there is to be given.", label)
	a.badGets.Page(p, "kubelet_pod_resources_endpoint_errors_get", "[ALPHA] Failures to tell of one pod.", label)
}
