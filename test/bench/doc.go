// Command bench measures proa on the machine at hand and writes a table (Markdown) and the same as JSON. Each measure has a budget
// and a goal beside it. Everything runs on a machine of its own (test/machine): durable writes, authentication, authorisation and
// admission as shipped; the load comes over keep-alive HTTP/2 with TLS and a client certificate from this process, so client and
// server share the cores.
//
//	bench -bin bin -o bin/bench [-only start,pods,node,logs,idle,load,wide,watch,stored,custom,nodes] [-runs 5]
//
// Read main.go, then one file a measure.
package main
