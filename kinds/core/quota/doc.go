// Package quota says what an object counts for in the quotas of its namespace, and which quotas look at it. It is pure: admission uses it
// before an object is stored, control/resourcequota to count what there is.
//
// A Counter is made per resource: For(pods) knows requests, limits and scopes, For(widgets.example.com) only count/widgets.example.com.
// It imports object, kinds/core and kinds/core/resources. Read counter.go.
package quota
