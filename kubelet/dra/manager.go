package dra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kit/atomicfile"
	"proa.dev/object"
)

// checkpointFile is below the kubelet's directory.
const checkpointFile = "dra_manager_state"

// Config is what a Manager starts from.
type Config struct {
	Client client.Client // as the node
	Node   string
	Root   string          // the kubelet's directory
	Renew  func(types.UID) // hears of pods whose devices' health has changed; must not block
	Log    *slog.Logger
	Away   time.Duration // a driver may be gone for so long before its slices go; 0 is 30 s, as long as its restart takes
}

// Manager knows the drivers of this node, and what they have prepared.
type Manager struct {
	Config
	counts counts
	tasks  sync.WaitGroup // of drivers, and removals of slices; Run waits for them

	mu      sync.Mutex // guards what follows
	life    context.Context
	drivers map[string][]*driver // by name; the last one that is connected counts
	wipes   map[string]*time.Timer
	claims  map[object.Key]*prepared
	health  map[string]map[string]health // by driver, and pool/device
}

// prepared is a claim that a pod of this node uses.
type prepared struct {
	UID       types.UID           `json:"uid"`
	Namespace string              `json:"namespace"`
	Name      string              `json:"name"`
	Pods      []types.UID         `json:"pods"`
	Drivers   map[string][]Device `json:"drivers"`

	done   bool // the drivers said so to this process: another asks them again
	ending bool
}

// Device is one that a driver has prepared.
type Device struct {
	Requests []string   `json:"requests,omitempty"` // of the claim, for which it is; none: for all
	Pool     string     `json:"pool"`
	Name     string     `json:"name"`
	CDI      []string   `json:"cdi,omitempty"`
	Share    *types.UID `json:"share,omitempty"`
}

// New reads what an earlier process had prepared. It starts nothing.
func New(c Config) (*Manager, error) {
	c.Away = cmp.Or(c.Away, away)
	m := &Manager{
		Config: c, life: context.Background(), drivers: map[string][]*driver{}, wipes: map[string]*time.Timer{},
		claims: map[object.Key]*prepared{}, health: map[string]map[string]health{},
	}
	b, err := os.ReadFile(filepath.Join(c.Root, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	var list []*prepared
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read which claims are prepared: %w", err)
	}
	for _, p := range list {
		if p == nil {
			return nil, errors.New("read which claims are prepared: one of them is null")
		}
		m.claims[object.Key{Namespace: p.Namespace, Name: p.Name}] = p
	}
	return m, nil
}

// save writes the checkpoint. m.mu is held.
func (m *Manager) save() error {
	list := make([]*prepared, 0, len(m.claims))
	for _, p := range m.claims {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *prepared) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(m.Root, checkpointFile), b, 0o600)
}

// Run follows drivers until ctx ends. No driver is there when it begins: those that do not come within Away have their slices withdrawn, as when
// they go later.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.life = ctx
	m.mu.Unlock()
	defer m.tasks.Wait()
	m.expect(ctx)
	<-ctx.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.wipes {
		t.Stop()
	}
	for _, list := range m.drivers {
		for _, d := range list {
			d.conn.Close()
		}
	}
	return nil
}

// Uses says whether a pod has claims prepared, or being prepared.
func (m *Manager) Uses(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.claims {
		if slices.Contains(p.Pods, uid) {
			return true
		}
	}
	return false
}

// Stale are pods that have claims prepared and are not live.
func (m *Manager) Stale(live func(types.UID) bool) (out []types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.claims {
		for _, uid := range p.Pods {
			if !live(uid) && !slices.Contains(out, uid) {
				out = append(out, uid)
			}
		}
	}
	return out
}
