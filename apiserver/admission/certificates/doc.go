// Package certificates is what admission says to certificate signing requests: who may approve and who may sign for which signer, and
// that nobody gets a client certificate of the group that may do everything. It imports admission, authz and kinds/certificates. Read
// certificates.go.
package certificates
