// Package prom is counters that cost next to nothing and what they look like in Prometheus' text format (version 0.0.4):
//
//	# HELP apiserver_storage_objects [STABLE] Stored objects by resource.
//	# TYPE apiserver_storage_objects gauge
//	apiserver_storage_objects{resource="pods"} 12
//
// Prometheus' own client library is larger than all that it would be used for here, and looks series up by built strings. A Vec looks
// them up by a key that is comparable, without a lock and without memory. It imports the standard library. Read vec.go.
package prom
