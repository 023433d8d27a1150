package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls are settings under /proc/sys by path, and the values they shall have.
type sysctls map[string]string

// set gives the settings their values.
func (s sysctls) set() error {
	for name, want := range s {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(want), 0)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "net/ipv6/") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("set sysctl %s=%s: %w", name, want, err)
		}
	}
	return nil
}

// apply sets what differs and keeps the values from before in the file, those of the first time only.
func (s sysctls) apply(file string) error {
	before, err := readBefore(file)
	if err != nil {
		return err
	}
	differ := sysctls{}
	for name, want := range s {
		have, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return fmt.Errorf("read sysctl %s: %w", name, err)
		}
		now := strings.TrimSpace(string(have))
		if now == want {
			continue
		}
		differ[name] = want
		if _, known := before[name]; !known {
			before[name] = now
		}
	}
	if len(differ) == 0 {
		return nil
	}
	raw, err := json.Marshal(before)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("remember sysctls: %w", err)
	}
	return differ.set()
}

func readBefore(file string) (map[string]string, error) {
	before := map[string]string{}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return before, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read sysctls from before: %w", err)
	}
	if json.Unmarshal(raw, &before) != nil {
		return map[string]string{}, nil // cut off by a crash: what is set now counts as from before
	}
	return before, nil
}

// restore puts the values that apply remembered in the file back.
func restore(file string) error {
	before, err := readBefore(file)
	if err != nil {
		return err
	}
	var errs error
	for name, old := range before {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(old), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link may be gone
			errs = errors.Join(errs, fmt.Errorf("set sysctl %s=%s: %w", name, old, err))
		}
	}
	return errs
}
