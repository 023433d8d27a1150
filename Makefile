# make build   everything under bin/, static, without cgo
# make up      a cluster on this machine with the shop in it
# make test    all tests; as root also those on real containers
# make bench   the measured table, in bin/bench.md and bin/bench.json

export CGO_ENABLED := 0
GO      ?= go
LDFLAGS := -s -w
VERSION := v1.37.2
# grpc's page of traces needs html/template, whose reflection makes the linker keep every method of every type: see go.mod
TAGS    := grpcnotrace
KEEPER  := runtime/keeper/embedded/proa-keeper

.PHONY: build up down images test bench clean

build:
	$(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $(KEEPER) ./cmd/proa-keeper
	$(GO) build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/proa ./cmd/proa
	$(GO) build -trimpath -ldflags "$(LDFLAGS) -X k8s.io/component-base/version.gitVersion=$(VERSION)" -o bin/kubectl ./cmd/kubectl

images:
	$(GO) run ./examples/shop/build -o bin/images

up: build images
	examples/shop/up bin

down:
	bin/proa down

test: build images
	$(GO) test -timeout 20m ./...

bench: build images
	$(GO) run ./test/bench -bin bin -o bin/bench

clean:
	rm -rf bin $(KEEPER)
