package apparmor

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

//go:generate sh -c "apparmor_parser --skip-cache --skip-kernel-load --stdout --policy-features /etc/apparmor.d/abi/3.0 --kernel-features /etc/apparmor.d/abi/3.0 policy/proa-default.profile > policy/proa-default.bin"

//go:embed policy/proa-default.bin
var compiled []byte

// Default is the profile of containers that ask for the runtime's own.
const Default = "proa-default"

// securityfs is where the kernel's modules for security are set up.
const securityfs = "/sys/kernel/security"

// Host is the AppArmor of this machine. Its methods are safe for concurrent use.
type Host struct {
	enabled bool

	mu     sync.Mutex // guards loaded
	loaded bool       // Default, by this process
}

// Open looks whether the kernel has AppArmor. It never changes while the kernel runs.
func Open() *Host {
	on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return &Host{enabled: err == nil && strings.HasPrefix(string(on), "Y")}
}

// Enabled says whether the kernel has AppArmor, and uses it. A nil Host has none.
func (h *Host) Enabled() bool { return h != nil && h.enabled }

// LoadDefault gives the kernel the profile Default, in place of what another version may have left.
func (h *Host) LoadDefault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loaded {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(securityfs, "apparmor", ".replace"), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("load the AppArmor profile %s: %w", Default, explain(err))
	}
	_, err = f.Write(compiled) // all at once: the kernel wants it so
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("load the AppArmor profile %s: %w", Default, err)
	}
	h.loaded = true
	return nil
}

// Has says whether the kernel has a profile of that name.
func (h *Host) Has(name string) (bool, error) {
	f, err := os.Open(filepath.Join(securityfs, "apparmor", "profiles"))
	if err != nil {
		return false, fmt.Errorf("list the AppArmor profiles: %w", explain(err))
	}
	defer f.Close()
	lines := bufio.NewScanner(f) // "name of a profile (enforce)"
	for lines.Scan() {
		if i := strings.LastIndex(lines.Text(), " ("); i >= 0 && lines.Text()[:i] == name {
			return true, nil
		}
	}
	return false, lines.Err()
}

// explain says what a file that is missing means.
func explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: is securityfs mounted at %s?", err, securityfs)
	}
	return err
}
