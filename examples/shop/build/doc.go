// Command build makes the images of the shop from its Go sources, as archives that "proa image import" takes: no Docker and
// no registry. The same sources and the same Go give the same digests.
//
//	go run ./examples/shop/build -o bin/images          all images
//	go run ./examples/shop/build -o bin/images web      one
//
// It writes shop-web.tar with docker.io/proa/shop-web:v1 and :v2 (which differ in SHOP_VERSION alone, to have something to
// roll out) and shop-store.tar with docker.io/proa/shop-store:v1. It imports runtime/archive. Read main.go.
package main
