// Package servicecidr says of every ServiceCIDR whether services may get addresses of it, and lets one go only when no address depends on
// it (KEP-1880). It imports control. Read plan.go.
package servicecidr
