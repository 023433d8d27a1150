package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"proa.dev/runtime/archive"
)

// Debian makes the image name ("docker.io/test/redis:1") from Debian packages and all they depend on, without what they
// only recommend, and returns the path of its OCI archive. Packages and archives are kept in dir, and used again as long
// as the archive would be the same. The image has no entry point; its PATH is the usual one. It needs root, because files
// have owners.
func Debian(ctx context.Context, dir, name string, packages ...string) (archivePath string, err error) {
	apt, err := newApt(dir)
	if err != nil {
		return "", err
	}
	debs, err := apt.resolve(ctx, packages)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	sum := sha256.Sum256([]byte(format + name + "\n" + strings.Join(debs, "\n")))
	base := strings.NewReplacer("/", "_", ":", "_").Replace(name)
	archivePath = filepath.Join(dir, fmt.Sprintf("%s-%x.tar", base, sum[:6]))
	if _, err := os.Stat(archivePath); err == nil {
		return archivePath, nil
	}
	if err := apt.download(ctx, packages); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	root, err := os.MkdirTemp(dir, "root-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	for _, deb := range debs {
		if _, err := run(ctx, "dpkg-deb", "-x", filepath.Join(apt.archives, deb), root); err != nil {
			return "", fmt.Errorf("image %s: %w", name, err)
		}
	}
	if err := finish(ctx, root); err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	files, err := archive.Tree(root)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", name, err)
	}
	_, err = archive.BuildFile(archivePath, archive.Spec{
		Names:  []string{name},
		Config: ocispec.ImageConfig{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
		Layers: [][]archive.File{slices.DeleteFunc(files, unwanted)},
	})
	return archivePath, err
}

// format changes when this file makes other images of the same packages.
const format = "1\n"

// unwanted is what nobody reads in a container.
func unwanted(f archive.File) bool {
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info"} {
		if f.Path == dir || strings.HasPrefix(f.Path, dir+"/") {
			return true
		}
	}
	return false
}

// apt is the machine's apt with a cache of its own and no package installed, so that it resolves every dependency.
type apt struct {
	archives string
	options  []string
}

func newApt(dir string) (*apt, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	a := &apt{archives: filepath.Join(dir, "debs")}
	if err := os.MkdirAll(filepath.Join(a.archives, "partial"), 0o755); err != nil {
		return nil, err
	}
	status := filepath.Join(dir, "nothing-installed")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return nil, err
	}
	a.options = []string{
		"-qq", "-y", "--no-install-recommends",
		"-o", "Dir::State::status=" + status,
		"-o", "Dir::Cache::archives=" + a.archives + "/",
		"-o", "Debug::NoLocking=true",
		"-o", "APT::Sandbox::User=root", // the cache may lie where the user _apt can not write
	}
	return a, nil
}

func (a *apt) install(ctx context.Context, flag string, packages []string) ([]byte, error) {
	args := append(slices.Clone(a.options), "install", flag)
	return run(ctx, "apt-get", append(args, packages...)...)
}

// resolve lists the file names of the packages and of all that they depend on. It fetches the package lists where the
// machine has none.
func (a *apt) resolve(ctx context.Context, packages []string) ([]string, error) {
	out, err := a.install(ctx, "--simulate", packages)
	if err != nil && strings.Contains(err.Error(), "Unable to locate package") {
		if _, err := run(ctx, "apt-get", "-qq", "update"); err != nil {
			return nil, err
		}
		out, err = a.install(ctx, "--simulate", packages)
	}
	if err != nil {
		return nil, err
	}
	var debs []string
	for line := range strings.Lines(string(out)) {
		// Inst libc6 (2.36-9+deb12u10 Debian:12.10/stable [amd64]) [libgcc-s1:amd64 ]
		what, rest, ok := strings.Cut(strings.TrimPrefix(line, "Inst "), " (")
		details, _, closed := strings.Cut(rest, ")")
		version, tail, spaced := strings.Cut(details, " ")
		_, arch, named := strings.Cut(strings.TrimSuffix(tail, "]"), "[")
		if !strings.HasPrefix(line, "Inst ") || !ok || !closed || !spaced || !named {
			continue
		}
		debs = append(debs, what+"_"+strings.ReplaceAll(version, ":", "%3a")+"_"+arch+".deb")
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt-get found nothing to install for %v", packages)
	}
	slices.Sort(debs)
	return debs, nil
}

func (a *apt) download(ctx context.Context, packages []string) error {
	_, err := a.install(ctx, "--download-only", packages)
	return err
}

// users that servers of Debian run as, which package scripts would make.
const passwd = `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
redis:x:100:101::/var/lib/redis:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`

const group = `root:x:0:
daemon:x:1:
adm:x:4:
www-data:x:33:
redis:x:101:
nogroup:x:65534:
`

const nsswitch = `passwd: files
group: files
hosts: files dns
`

// finish makes what package scripts would have made.
func finish(ctx context.Context, root string) error {
	for path, body := range map[string]string{"etc/passwd": passwd, "etc/group": group, "etc/nsswitch.conf": nsswitch} {
		if err := write(root, path, body); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		path     string
		mode     fs.FileMode
		uid, gid int
	}{
		{"root", 0o700, 0, 0},
		{"proc", 0o555, 0, 0},
		{"sys", 0o555, 0, 0},
		{"dev", 0o755, 0, 0},
		{"run", 0o755, 0, 0},
		{"tmp", fs.ModeSticky | 0o777, 0, 0},
		{"run/redis", 0o755, 100, 101},
		{"var/lib/redis", 0o750, 100, 101},
		{"var/log/redis", 0o750, 100, 101},
	} {
		path := filepath.Join(root, d.path)
		err := os.MkdirAll(path, 0o755)
		err = errors.Join(err, os.Lchown(path, d.uid, d.gid), os.Chmod(path, d.mode))
		if err != nil {
			return err
		}
	}
	return applets(ctx, root)
}

func write(root, path, body string) error {
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(body), 0o644)
}

// applets gives each command of busybox its name, where no other package brings a better one.
func applets(ctx context.Context, root string) error {
	busybox := filepath.Join(root, "bin/busybox")
	if _, err := os.Stat(busybox); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	out, err := run(ctx, busybox, "--list")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(out)) {
		if strings.ContainsAny(name, "/.") || name == "busybox" || exists(root, name) {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

func exists(root, command string) bool {
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin"} {
		if _, err := os.Lstat(filepath.Join(root, dir, command)); err == nil {
			return true
		}
	}
	return false
}

// run runs a program and returns what it prints; its complaints become the error.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(complaints.String()))
	}
	return out.Bytes(), nil
}
