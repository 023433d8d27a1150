// Package pki holds the keys and certificates of a cluster: its certificate authority, a second one for proxies in front of the
// API server, the keys that sign service account tokens, and the leaves that servers, clients and nodes show, which renew
// themselves while they are in use. All keys are ECDSA P-256.
//
// Everything lies in one directory that only root may read, one file each, written whole or not at all:
//
//	ca.crt ca.key                  the cluster's authority, 10 years, renewed with the same key in its last year
//	front-proxy-ca.crt .key        the authority of proxies that vouch for users by header
//	sa.key  sa-<anything>.key      sign and verify service account tokens; sa.key signs, all verify
//
// Imports kit/atomicfile and the standard library. Read cluster.go, then leaf.go and rotate.go.
package pki
