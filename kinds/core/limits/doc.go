// Package limits is the kinds that bound what a namespace may use: ResourceQuota and LimitRange. It imports kinds, kinds/check and
// kinds/core/resources. Read resourcequota.go.
package limits
