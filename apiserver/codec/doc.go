// Package codec turns objects into bytes and back: the storage form, and the wire forms JSON, YAML and protobuf, with content
// negotiation, lists glued together from the encodings of their items, watch frames, tables and partial metadata.
//
// It imports object, kinds and apimachinery. Read encode.go and decode.go; negotiate.go says which form a request gets.
//
// Worked example, the protobuf form of ConfigMap "a" (also the storage form):
//
//	6b 38 73 00                          "k8s\0"
//	0a 0f  0a 02 "v1" 12 09 "ConfigMap"  runtime.Unknown.typeMeta
//	12 05  0a 03 0a 01 "a"               runtime.Unknown.raw: the message ConfigMap
//	1a 00 22 00                          contentEncoding, contentType: empty
package codec
