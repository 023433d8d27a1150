// Package registry pulls from image registries (OCI distribution specification, "Pull").
package registry
