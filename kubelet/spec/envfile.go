package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	core "k8s.io/api/core/v1"
)

// fromFile is the value of a variable in a file of one of the pod's volumes (KEP-3721); ok is false where it is missing and may be.
func fromFile(src EnvSources, pod *core.Pod, r *core.FileKeySelector) (value string, ok bool, err error) {
	optional := r.Optional != nil && *r.Optional
	text, err := src.File(pod, r.VolumeName, r.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
		return "", false, nil
	case err != nil: // the detail could tell a tenant about the node's files
		return "", false, fmt.Errorf("environment file %q of volume %q can not be read", r.Path, r.VolumeName)
	}
	value, err = parseEnvFile(string(text), r.Key)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	case value == "" && optional:
		return "", false, nil
	case value == "":
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", r.Key, r.Path)
	}
	return value, true, nil
}

// parseEnvFile finds a variable in a file of lines NAME='value'. It is a part of POSIX shell's syntax: a value stands in single quotes
// and may have several lines, nothing in it is special; a blank after = makes the variable empty; # begins a comment where a name or
// a line's end could be. Anything else is an error that names its line, if it stands before the variable.
//
//	# made by the init container
//	HOST='db-1'   # of today
//	NOTE='first line
//	second line'
func parseEnvFile(text, key string) (string, error) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		bad := func(why string) error {
			return fmt.Errorf("invalid environment variable format at line %d: %s", i+1, why)
		}
		name, rest, ok := strings.Cut(line, "=")
		switch {
		case !ok:
			return "", bad("missing '='")
		case strings.TrimRight(name, " \t") == "":
			return "", bad("empty variable name")
		case strings.TrimRight(name, " \t") != name:
			return "", bad("whitespace before '=' is not allowed")
		case strings.TrimLeft(rest, " \t") != rest, rest == "":
			if rest == "" {
				return "", bad("value must be enclosed in single quotes")
			}
			if name == key {
				return "", nil
			}
			continue
		case rest[0] != '\'':
			return "", bad("value must be enclosed in single quotes")
		}
		var value []string
		began := i
		rest = rest[1:]
		for !strings.Contains(rest, "'") {
			value = append(value, rest)
			if i++; i == len(lines) {
				return "", fmt.Errorf("invalid environment variable format starting at line %d: unclosed single quote", began+1)
			}
			rest = lines[i]
		}
		last, after, _ := strings.Cut(rest, "'")
		if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
			return "", bad("unexpected content after closing quote")
		}
		if name == key {
			return strings.Join(append(value, last), "\n"), nil
		}
	}
	return "", nil
}
