package main

// pack is one part of the conformance suite: the tests that one piece of work makes pass.
type pack struct {
	name, title string
	tests       int      // how many Kubernetes 1.36 has
	files       []string // ends of the paths of the test's source files, as patterns
	focus       string   // pattern that the names must match, besides [Conformance]; "": all
	skip        string   // pattern that the names must not match; "": none
	exact       string   // pattern in place of focus; "": none
}

// packs are all 446 tests, each once.
var packs = []pack{
	{name: "P1", title: "API machinery: discovery, watch, lists, events, leases, flow control", tests: 22, files: []string{
		"apimachinery/(aggregated_discovery|chunking|discovery|flowcontrol|server_version|table_conversion|watch)",
		"instrumentation/(core_events|events)", "common/node/lease"}},
	{name: "P2", title: "custom resources", tests: 18, files: []string{
		"apimachinery/(crd_conversion_webhook|crd_publish_openapi|crd_selectable_fields|crd_watch|custom_resource_definition)"}},
	{name: "P3", title: "admission webhooks", tests: 22, files: []string{"apimachinery/webhook"}},
	{name: "P4", title: "admission policies", tests: 8, files: []string{"apimachinery/(mutating|validating)admissionpolicy"}},
	{name: "P5", title: "aggregated API servers", tests: 1, files: []string{"apimachinery/aggregator"}},
	{name: "P6", title: "field validation and server-side apply", tests: 7, files: []string{"apimachinery/field_validation"}},
	{name: "P7", title: "namespaces and garbage collection", tests: 14, files: []string{"apimachinery/(garbage_collector|namespace)"}},
	{name: "P8", title: "quota and limit ranges", tests: 14, files: []string{"apimachinery/resource_quota", "scheduling/limit_range"}},
	{name: "P9", title: "workload controllers", tests: 63, files: []string{
		"apps/(controller_revision|cronjob|daemon_set|deployment|disruption|job|rc|replica_set|statefulset)", "common/node/podtemplates"}},
	{name: "P10", title: "life of pods on a node", tests: 60, skip: podStreams, files: []string{"node/pre_stop",
		"node/(containers|container_probe|ephemeral_containers|expansion|init_container|kubelet|lifecycle_hook|pod_resize|pods|runtime)"}},
	{name: "P11", title: "exec, attach and logs", tests: 3, focus: podStreams, files: []string{"common/node/(pods|kubelet)"}},
	{name: "P12", title: "environment from objects", tests: 17, files: []string{"common/node/(configmap|downwardapi|secrets)"}},
	{name: "P13", title: "volumes of files", tests: 82, files: []string{"common/storage/[a-z_]+", "storage/(empty_dir_wrapper|subpath)",
		"common/node/image_volume"}},
	{name: "P14", title: "storage objects", tests: 10, files: []string{
		"storage/(csi_inline|csi_node|csistoragecapacity|persistent_volumes|storageclass|volume_attachment|volumeattributesclass)"}},
	{name: "P15", title: "services, DNS, proxies and networking", tests: 47, files: []string{"network/[a-z_]+"}},
	{name: "P16", title: "scheduling, preemption and taints", tests: 12, files: []string{"scheduling/(predicates|preemption)", "node/taints",
		"architecture/conformance"}},
	{name: "P17", title: "identity", tests: 10, files: []string{"auth/[a-z_]+"}},
	{name: "P18", title: "kubectl", tests: 17, files: []string{"kubectl/(kubectl|logs)"}},
	{name: "P19", title: "the rest of the node", tests: 19, files: []string{"dra/dra",
		"node/(kubelet_etc_hosts|node_lifecycle|runtimeclass|security_context|sysctl)"}},
}

// podStreams are the tests of pods and the kubelet that are about streams.
const podStreams = "over websockets|should print the output to logs"
