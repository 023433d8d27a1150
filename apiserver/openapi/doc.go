// Package openapi describes the API to clients that validate, explain and patch by schema:
//
//	GET /openapi/v2                  everything in one Swagger 2.0 document
//	GET /openapi/v3                  the list of documents by group and version
//	GET /openapi/v3/apis/apps/v1     one OpenAPI 3.0 document
//
// Documents are made from the Go types by reflection (descriptions from SwaggerDoc, merge rules from struct tags, what stands in
// comments only from the folder markers), when a client first asks, and are kept compressed. The object graph is dropped at once:
// the daemon's memory is worth more than a tenth of a second for the first kubectl explain.
//
// It imports kinds, object, apimachinery, k8s.io/api and gnostic for the protobuf form. Read openapi.go, then schema.go.
package openapi
