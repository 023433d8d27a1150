// Package serviceaccount keeps a ServiceAccount named "default" in every namespace. It imports control. Read controller.go.
package serviceaccount
