package cdi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"sigs.k8s.io/yaml"
)

// dirs are where files are looked for.
var dirs = [...]string{"/etc/cdi", "/var/run/cdi"}

// file is one specification.
type file struct {
	Version     string            `json:"cdiVersion"`
	Kind        string            `json:"kind"`
	Annotations map[string]string `json:"annotations"`
	Devices     []device          `json:"devices"`
	Edits       edits             `json:"containerEdits"`
}

type device struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
	Edits       edits             `json:"containerEdits"`
}

// edits are the changes to a container.
type edits struct {
	Env        []string        `json:"env"`
	Nodes      []node          `json:"deviceNodes"`
	NetDevices []netDevice     `json:"netDevices"`
	Mounts     []mount         `json:"mounts"`
	Hooks      []hook          `json:"hooks"`
	GIDs       []uint32        `json:"additionalGids"`
	RDT        *map[string]any `json:"intelRdt"`
}

type node struct {
	Path        string       `json:"path"`
	HostPath    string       `json:"hostPath"`
	Type        string       `json:"type"`
	Major       int64        `json:"major"`
	Minor       int64        `json:"minor"`
	Mode        *os.FileMode `json:"fileMode"`
	Permissions string       `json:"permissions"`
	UID         *uint32      `json:"uid"`
	GID         *uint32      `json:"gid"`
}

type netDevice struct {
	HostName string `json:"hostInterfaceName"`
	Name     string `json:"name"`
}

type mount struct {
	HostPath      string   `json:"hostPath"`
	ContainerPath string   `json:"containerPath"`
	Type          string   `json:"type"`
	Options       []string `json:"options"`
}

type hook struct {
	Name    string   `json:"hookName"`
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Timeout *int     `json:"timeout"`
}

// found is a device and the file it is in.
type found struct {
	file   *file
	edits  *edits
	origin string // path of the file
	twice  bool   // another one of the same directory has it, too
}

// Apply changes s as the named devices want it, and returns the groups that the process gets besides. They are on this host.
func Apply(s *specs.Spec, names []string) (groups []uint32, err error) {
	return apply(s, names, dirs[:])
}

func apply(s *specs.Spec, names []string, dirs []string) (groups []uint32, err error) {
	known, broken, err := scan(dirs)
	if err != nil {
		return nil, fmt.Errorf("CDI device injection failed: %w", err)
	}
	var missing []string
	for _, name := range names {
		if d := known[name]; d == nil || d.twice {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		err := fmt.Errorf("CDI device injection failed: unresolvable CDI devices %s", strings.Join(missing, ", "))
		return nil, errors.Join(append([]error{err}, broken...)...)
	}
	done := map[string]bool{}
	for _, name := range names {
		d := known[name]
		for _, e := range []struct {
			key   string
			edits *edits
		}{{d.origin, &d.file.Edits}, {name, d.edits}} {
			if done[e.key] {
				continue
			}
			done[e.key] = true
			if err := e.edits.apply(s); err != nil {
				return nil, fmt.Errorf("CDI device injection failed: %s of %s: %w", name, d.origin, err)
			}
			groups = append(groups, e.edits.GIDs...)
		}
	}
	return groups, nil
}

// scan reads all files. Those that cannot be read are no obstacle to the devices of others.
func scan(dirs []string) (known map[string]*found, broken []error, err error) {
	known = map[string]*found{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		here := map[string]bool{}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch filepath.Ext(path) {
			case ".json", ".yaml":
			default:
				continue
			}
			f, err := read(path)
			if err != nil {
				broken = append(broken, fmt.Errorf("%s: %w", path, err))
				continue
			}
			for i := range f.Devices {
				name := f.Kind + "=" + f.Devices[i].Name
				known[name] = &found{file: f, edits: &f.Devices[i].Edits, origin: path, twice: here[name]}
				here[name] = true
			}
		}
	}
	return known, broken, nil
}

// maxFile bounds a file, in bytes.
const maxFile = 8 << 20

func read(path string) (*file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("not a file of at most %d bytes", maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(data)
}

func parse(data []byte) (*file, error) {
	f := new(file)
	if err := yaml.UnmarshalStrict(data, f); err != nil {
		return nil, err
	}
	vendor, class, ok := strings.Cut(f.Kind, "/")
	switch {
	case f.Version == "":
		return nil, errors.New("no cdiVersion")
	case !ok || vendor == "" || class == "" || strings.ContainsAny(class, "/="):
		return nil, fmt.Errorf("kind %q is not vendor/class", f.Kind)
	}
	for _, d := range f.Devices {
		if d.Name == "" || strings.ContainsAny(d.Name, "/= ") {
			return nil, fmt.Errorf("%q is not the name of a device", d.Name)
		}
	}
	return f, nil
}
