// Package local is client.Client without a wire: straight onto the verbs of apiserver/rest, as one identity. Every call is
// authorised, admitted, counted and audited as a request over HTTPS is; what it saves is HTTP and two codecs. Together with the
// cache's View it passes the suite of client/clienttest.
//
// It imports rest, authn, audit, authz, flow, client and object. Read local.go.
package local
