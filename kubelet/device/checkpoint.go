package device

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"proa.dev/kit/atomicfile"
)

// checkpointFile is where others look for it, too.
const checkpointFile = "kubelet_internal_checkpoint"

// checkpoint is the form of the file.
type checkpoint struct {
	Data     json.RawMessage
	Checksum uint32 // of Data
}

type checkpointData struct {
	PodDeviceEntries  []entry
	RegisteredDevices map[string][]string
}

type entry struct {
	PodUID        string
	ContainerName string
	ResourceName  string
	DeviceIDs     map[int64][]string
	AllocResp     []byte
}

// save writes the checkpoint. m.mu is held.
func (m *Manager) save() error {
	err := m.write()
	if err != nil {
		m.log.Warn("device checkpoint not written", "err", err)
	}
	return err
}

func (m *Manager) write() error {
	data := checkpointData{RegisteredDevices: map[string][]string{}}
	for uid, containers := range m.given {
		for container, resources := range containers {
			for name, g := range resources {
				resp, err := proto.Marshal(g.resp)
				if err != nil {
					return err
				}
				data.PodDeviceEntries = append(data.PodDeviceEntries, entry{string(uid), container, name, g.nodes, resp})
			}
		}
	}
	for name, r := range m.resources {
		data.RegisteredDevices[name] = slices.Sorted(maps.Keys(r.healthy()))
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	file, err := json.Marshal(checkpoint{raw, crc32.ChecksumIEEE(raw)})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o750); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(m.dir, checkpointFile), file, 0o600)
}

// load reads what an earlier process left. Resources that it knew have nothing to give until their plugins come back.
func (m *Manager) load(now time.Time) error {
	b, err := os.ReadFile(filepath.Join(m.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var file checkpoint
	var data checkpointData
	if err := json.Unmarshal(b, &file); err != nil {
		return err
	}
	if err := json.Unmarshal(file.Data, &data); err != nil {
		return err
	}
	for _, e := range data.PodDeviceEntries {
		g := &grant{nodes: e.DeviceIDs, resp: &api.ContainerAllocateResponse{}}
		if err := proto.Unmarshal(e.AllocResp, g.resp); err != nil {
			return err
		}
		for _, ids := range e.DeviceIDs {
			g.ids = append(g.ids, ids...)
		}
		slices.Sort(g.ids)
		g.ids = slices.Compact(g.ids)
		uid := types.UID(e.PodUID)
		if m.given[uid] == nil {
			m.given[uid] = map[string]map[string]*grant{}
		}
		if m.given[uid][e.ContainerName] == nil {
			m.given[uid][e.ContainerName] = map[string]*grant{}
		}
		m.given[uid][e.ContainerName][e.ResourceName] = g
	}
	for name := range data.RegisteredDevices {
		m.resources[name] = &advertised{devices: map[string]*api.Device{}, stopped: now}
	}
	return nil
}
