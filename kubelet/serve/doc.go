// Package serve is the node's own HTTPS API, port 10250: what the API server asks a node for (logs, exec, attach, port-forward), what
// operators and metrics collectors read. Every request is authenticated (a client certificate of the cluster's CA, or a token that the
// API server reviews) and authorised (may this user do that to nodes/proxy, nodes/stats ... of this node), by the API server's own rules.
//
//	GET  /containerLogs/{ns}/{pod}/{container}?follow&previous&tailLines&...      nodes/proxy
//	POST /exec/{ns}/{pod}/{container}?command=..&input=1&output=1&tty=1            nodes/proxy, upgraded and tunnelled to the runtime
//	POST /attach/{ns}/{pod}/{container}   POST /portForward/{ns}/{pod}             the same
//	POST /run/{ns}/{pod}/{container}?cmd=..                                        nodes/proxy
//	GET  /pods /runningpods /healthz /configz /stats/summary /metrics /metrics/{resource,cadvisor,probes} /debug/pprof/
//	GET  /logs/{file}   /logs/?query={service}&sinceTime&untilTime&tailLines&pattern&boot                 nodes/log
//	POST /checkpoint/{ns}/{pod}/{container}                                                               for runtimes that can do it
//
// It imports client, object and kubelet/{cri,observe,logs,stats,pod's types through Host}. Read serve.go, then auth.go.
package serve
