// Package userns gives each pod with hostUsers: false a range of 65536 user and group numbers of the host that no other pod has
// (KEP-127): from those that /etc/subuid and /etc/subgid give to a user named kubelet, else from all but the first 65536. What a pod got is
// in the file "userns" of its directory, so that it outlives the kubelet:
//
//	{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}
//
// It imports the API and CRI types and kit. Read userns.go.
package userns
