package userns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"proa.dev/kit/atomicfile"
)

// PerPod is how many users, and groups, a pod has.
const PerPod = 65536

// file is the name of a pod's range in its directory.
const file = "userns"

// kept is what is in it.
type kept struct {
	UIDs []mapping `json:"uidMappings"`
	GIDs []mapping `json:"gidMappings"`
}

type mapping struct {
	Host      uint32 `json:"hostId"`
	Container uint32 `json:"containerId"`
	Length    uint32 `json:"length"`
}

// Users gives ranges to pods.
type Users struct {
	pods string // the directory with one for each pod
	etc  string // where passwd, subuid and subgid are

	mu    sync.Mutex // guards all below
	ready bool       // read, and not before the first pod wants one
	first uint32     // the first number of all
	slots int        // so many ranges there are
	of    map[types.UID]int
	used  map[int]types.UID
}

// New reads nothing yet: most nodes never run such a pod. pods is the directory with one for each pod.
func New(pods string) *Users { return &Users{pods: pods, etc: "/etc"} }

// Of is the user namespace of a pod: nil for one with the host's users, else its own, a new one the first time.
func (u *Users) Of(pod *core.Pod) (*runtimeapi.UserNamespace, error) {
	if pod.Spec.HostUsers == nil || *pod.Spec.HostUsers {
		return nil, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.read(); err != nil {
		return nil, err
	}
	slot, ok := u.of[pod.UID]
	if !ok {
		var err error
		if slot, err = u.take(pod.UID); err != nil {
			return nil, fmt.Errorf("create user namespace: %w", err)
		}
	}
	ids := []*runtimeapi.IDMapping{{HostId: u.host(slot), Length: PerPod}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}, nil
}

func (u *Users) host(slot int) uint32 { return u.first + uint32(slot)*PerPod }

// take gives a pod a range that is free, and writes it down before anybody uses it. It is any of them, so that pods of different nodes seldom
// have the same, on storage that they share.
func (u *Users) take(uid types.UID) (int, error) {
	if len(u.used) >= u.slots {
		return 0, errors.New("could not find an empty slot to allocate a user namespace")
	}
	slot := rand.IntN(u.slots)
	for u.used[slot] != "" {
		slot = (slot + 1) % u.slots
	}
	ids := []mapping{{Host: u.host(slot), Length: PerPod}}
	data, err := json.Marshal(kept{ids, ids})
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(u.pods, string(uid))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return 0, err
	}
	if err := atomicfile.Write(filepath.Join(dir, file), data, 0o600); err != nil {
		return 0, err
	}
	u.of[uid], u.used[slot] = slot, uid
	return slot, nil
}

// Release takes a pod's range back. Nothing of the pod may run any more. A pod without one is no error.
func (u *Users) Release(uid types.UID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := os.Remove(filepath.Join(u.pods, string(uid), file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slot, ok := u.of[uid]; ok {
		delete(u.of, uid)
		delete(u.used, slot)
	}
	return nil
}

// read finds out which ranges there are and which are used. The caller holds mu.
func (u *Users) read() error {
	if u.ready {
		return nil
	}
	first, size, err := ranges(u.etc)
	if err != nil {
		return fmt.Errorf("user namespaces: %w", err)
	}
	u.first, u.slots = first, int(size/PerPod)
	u.of, u.used = map[types.UID]int{}, map[int]types.UID{}
	entries, err := os.ReadDir(u.pods)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(u.pods, e.Name(), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := u.record(types.UID(e.Name()), data); err != nil {
			return fmt.Errorf("user namespace of pod %s: %w", e.Name(), err)
		}
	}
	u.ready = true
	return nil
}

// record takes over what is written of a pod.
func (u *Users) record(uid types.UID, data []byte) error {
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return fmt.Errorf("invalid user namespace mappings file: %w", err)
	}
	if len(k.UIDs) != 1 || len(k.GIDs) != 1 || k.UIDs[0] != k.GIDs[0] || k.UIDs[0].Container != 0 || k.UIDs[0].Length != PerPod {
		return fmt.Errorf("invalid user namespace configuration: want one range of %d from 0, the same for users and groups", PerPod)
	}
	from := k.UIDs[0].Host
	if from < u.first || (from-u.first)%PerPod != 0 || int((from-u.first)/PerPod) >= u.slots {
		return fmt.Errorf("%d is not the beginning of a range that this node may use", from)
	}
	slot := int((from - u.first) / PerPod)
	if other := u.used[slot]; other != "" {
		return fmt.Errorf("the range from %d is that of pod %s, too", from, other)
	}
	u.of[uid], u.used[slot] = slot, uid
	return nil
}
