// Package resourcequota refuses writes by which the objects of a namespace would use more than its quotas allow.
//
// What is used stands in the status of a quota, and a write is admitted only after its share has been added there by compare-and-put:
// so no two writes get the same rest, also on several servers. The writes to one namespace that wait at the same time share one put.
// What a write took that did not happen after all is given back by control/resourcequota, which counts again when a quota is at rest.
//
// It imports apiserver/admission, client, kinds/core/quota and object. Read admission.go.
package resourcequota
