package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
)

// program is a main package of the shop and how it wants to run.
type program struct {
	name     string
	versions []string
	user     string // "" is root
	port     string // "8080/tcp"
}

var programs = []program{
	{name: "web", versions: []string{"v1", "v2"}, user: "65532:65532", port: "8080/tcp"},
	// The store writes to a volume that belongs to root.
	{name: "store", versions: []string{"v1"}, port: "6379/tcp"},
}

func main() {
	out := flag.String("o", "bin/images", "folder to write the archives to")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n", err)
		os.Exit(1)
	}
}

// run builds the named programs, or all. A name that is not in the table is a main package next to web, run as root.
func run(out string, names []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "shop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if len(names) == 0 {
		for _, p := range programs {
			names = append(names, p.name)
		}
	}
	for _, name := range names {
		p := program{name: name, versions: []string{"v1"}}
		if i := slices.IndexFunc(programs, func(p program) bool { return p.name == name }); i >= 0 {
			p = programs[i]
		}
		binary := filepath.Join(tmp, name)
		if err := compile(binary, "proa.dev/examples/shop/"+name); err != nil {
			return err
		}
		file := filepath.Join(out, "shop-"+name+".tar")
		images, err := archive.BuildFile(file, p.specs(binary)...)
		if err != nil {
			return err
		}
		for _, im := range images {
			fmt.Printf("%s  %s  %s\n", file, im.Names[0], im.Manifest.Digest)
		}
	}
	return nil
}

func compile(binary, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile %s: %w", pkg, err)
	}
	return nil
}

// specs describes one image a version. All consist of the same layer.
func (p program) specs(binary string) []archive.Spec {
	files := []archive.File{
		{Path: "/" + p.name, Mode: 0o755, Source: binary},
		{Path: "/etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/:/\nshop:x:65532:65532:shop:/:/\n")},
		{Path: "/etc/group", Mode: 0o644, Content: []byte("root:x:0:\nshop:x:65532:\n")},
		{Path: "/tmp", Mode: os.ModeDir | os.ModeSticky | 0o777},
	}
	var specs []archive.Spec
	for _, version := range p.versions {
		config := ocispec.ImageConfig{
			Entrypoint: []string{"/" + p.name},
			Env:        []string{"PATH=/", "SHOP_VERSION=" + version},
			User:       p.user,
			WorkingDir: "/",
		}
		if p.port != "" {
			config.ExposedPorts = map[string]struct{}{p.port: {}}
		}
		specs = append(specs, archive.Spec{
			Names:  []string{"docker.io/proa/shop-" + p.name + ":" + version},
			Config: config,
			Layers: [][]archive.File{files},
		})
	}
	return specs
}
