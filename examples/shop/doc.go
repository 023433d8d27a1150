// Package shop is the example that the README runs: web, a page that counts its visits, and store, which keeps the counts on a
// volume. shop.yaml deploys both with plain Kubernetes objects; build makes their images without Docker.
package shop
