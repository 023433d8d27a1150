// Package ingressclass gives new ingresses that name no class the default one. It imports apiserver/admission and client. Read
// ingressclass.go.
package ingressclass
