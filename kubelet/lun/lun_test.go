package lun

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// machine is a host made of files: sysfs as the kernel writes it, and programs that say what they were asked.
type machine struct {
	t     *testing.T
	root  string
	calls []string
	fail  map[string]int // exit codes by the beginning of a call
	units []int32        // what the targets show
	next  int            // number of the next adapter
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: t.TempDir(), fail: map[string]int{}, units: []int32{0, 1, 2}, next: 4}
	for _, d := range []string{"sys/class/block", "sys/block", "dev", "run", "kubelet"} {
		if err := os.MkdirAll(m.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.file("mountinfo", "")
	return m
}

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.root}, parts...)...)
}

func (m *machine) file(path, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(path), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) link(path, to string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(m.path(to), m.path(path)); err != nil {
		m.t.Fatal(err)
	}
}

// device makes a disk of the kernel's, in the folder of its target.
func (m *machine) device(name, at string, number int) {
	dir := at + "/block/" + name
	m.file(dir+"/dev", fmt.Sprintf("8:%d\n", 16*number))
	m.file(at+"/delete", "")
	m.link(dir+"/device", at)
	for _, d := range []string{"holders", "slaves"} {
		if err := os.MkdirAll(m.path(dir, d), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	m.link("sys/class/block/"+name, dir)
	m.link("sys/block/"+name, dir)
	m.file("dev/"+name, "")
}

// login makes what the kernel shows of a session.
func (m *machine) login(iqn, iface, portal string) {
	h := m.next
	m.next++
	host, port, _ := strings.Cut(portal, ":")
	se := fmt.Sprintf("sys/devices/platform/host%d/session%d", h, h)
	m.link(fmt.Sprintf("sys/class/iscsi_session/session%d", h), se+fmt.Sprintf("/iscsi_session/session%d", h))
	for k, v := range map[string]string{"targetname": iqn, "ifacename": iface, "target_id": "0"} {
		m.file(se+fmt.Sprintf("/iscsi_session/session%d/%s", h, k), v+"\n")
	}
	m.link(se+fmt.Sprintf("/iscsi_session/session%d/device", h), se)
	for k, v := range map[string]string{"persistent_address": host, "address": "192.0.2.9", "persistent_port": port, "port": port} {
		m.file(fmt.Sprintf("sys/class/iscsi_connection/connection%d:0/%s", h, k), v+"\n")
	}
	m.file(fmt.Sprintf("sys/class/scsi_host/host%d/scan", h), "")
	for i, u := range m.units {
		m.device(fmt.Sprintf("sd%c%c", 'a'+h, 'a'+i), fmt.Sprintf("%s/target%d:0:0/%d:0:0:%d", se, h, h, u), 16*h+i)
	}
}

func (m *machine) command(_ context.Context, name string, args ...string) (string, int, error) {
	call := strings.Join(append([]string{name}, args...), " ")
	m.calls = append(m.calls, call)
	for beginning, code := range m.fail {
		if strings.HasPrefix(call, beginning) {
			return "no", code, nil
		}
	}
	switch {
	case strings.HasSuffix(call, "-o show"):
		return "# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = default\niface.transport_name = tcp\niface.initiatorname = <empty>\niface.mtu = 0\n", 0, nil
	case strings.HasSuffix(call, "--login"):
		m.login(args[5], args[7], args[3])
	}
	return "", 0, nil
}

// took returns the calls that came since, and forgets them.
func (m *machine) took() string {
	out := strings.Join(m.calls, "\n")
	m.calls = nil
	return out
}

func (m *machine) disks() *Disks {
	m.t.Helper()
	s, err := New(Deps{Root: m.path("kubelet"), Secrets: secrets{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	s.host = host{sys: m.path("sys"), dev: m.path("dev"), run: m.path("run"), mounts: m.path("mountinfo"), sockets: m.path("sockets"), command: m.command}
	return s
}

type secrets struct{}

func (secrets) Secret(namespace, name string) (*core.Secret, error) {
	return &core.Secret{Data: map[string][]byte{
		"node.session.auth.username": []byte("me"), "node.session.auth.password": []byte(namespace + "/" + name), "other": []byte("x"),
		"discovery.sendtargets.auth.username": []byte("you"),
	}}, nil
}

func pod(name string) *core.Pod {
	return &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
}

const iqn = "iqn.2001-04.org.example:a"

// blockVolume is one of a claim; its device is all that is made of it.
func blockVolume(p string, name string, lun int32, more func(*core.ISCSIPersistentVolumeSource)) *Volume {
	mode := core.PersistentVolumeBlock
	src := &core.ISCSIPersistentVolumeSource{TargetPortal: "10.0.0.5", IQN: iqn, Lun: lun, ISCSIInterface: "default"}
	if more != nil {
		more(src)
	}
	pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	pv.Spec.VolumeMode, pv.Spec.ISCSI = &mode, src
	return &Volume{Pod: pod(p), PV: pv, Name: name}
}

func (m *machine) publish(s *Disks, v *Volume, device string) {
	m.t.Helper()
	made, err := s.Publish(m.t.Context(), v)
	if err != nil {
		m.t.Fatal(err)
	}
	if got, err := os.Readlink(made.Path); err != nil || got != m.path("dev", device) {
		m.t.Errorf("%s is a link to %s (%v), want %s", made.Path, got, err, device)
	}
}

// leftOver are the records of disks in use.
func (m *machine) leftOver() []string { return names(m.path("kubelet/plugins/kubernetes.io/luns")) }

const loginOf = `iscsiadm -m iface -I default -o show
iscsiadm -m discoverydb -t sendtargets -p 10.0.0.5:3260 -I default -o new
iscsiadm -m discoverydb -t sendtargets -p 10.0.0.5:3260 -I default --discover
iscsiadm -m node -p 10.0.0.5:3260 -T iqn.2001-04.org.example:a -I default -o update -n node.session.scan -v manual
iscsiadm -m node -p 10.0.0.5:3260 -T iqn.2001-04.org.example:a -I default --login
iscsiadm -m node -p 10.0.0.5:3260 -T iqn.2001-04.org.example:a -I default -o update -n node.startup -v manual`

const logoutOf = `iscsiadm -m node -p 10.0.0.5:3260 -T iqn.2001-04.org.example:a -I default --logout
iscsiadm -m node -p 10.0.0.5:3260 -T iqn.2001-04.org.example:a -I default -o delete`

// TestSessions: two disks of one target share a session, over a restart, and the last one ends it.
func TestSessions(t *testing.T) {
	m := newMachine(t)
	s := m.disks()
	m.publish(s, blockVolume("a", "one", 1, nil), "sdeb")
	if diff := cmp.Diff(loginOf, m.took()); diff != "" {
		t.Errorf("the first disk: %s", diff)
	}
	m.publish(s, blockVolume("b", "two", 2, nil), "sdec")
	m.publish(s, blockVolume("c", "one", 1, nil), "sdeb")
	s = m.disks()
	m.publish(s, blockVolume("c", "one", 1, nil), "sdeb")
	for _, p := range []types.UID{"uid-a", "uid-c", "uid-nobody"} {
		if err := s.Teardown(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	if got := m.took(); got != "" {
		t.Errorf("a session that is in use: %s", got)
	}
	if got := len(m.leftOver()); got != 1 {
		t.Errorf("%d records, want one", got)
	}
	gone, err := os.ReadFile(m.path("sys/class/block/sdeb/device/delete"))
	if kept, _ := os.ReadFile(m.path("sys/class/block/sdec/device/delete")); err != nil || string(gone) != "1" || len(kept) > 0 {
		t.Errorf("devices removed: sdeb %q, sdec %q: %v", gone, kept, err)
	}
	s = m.disks()
	if err := s.Teardown(t.Context(), "uid-b"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(logoutOf, m.took()); diff != "" {
		t.Errorf("the last disk: %s", diff)
	}
	if got := m.leftOver(); len(got) > 0 {
		t.Errorf("records left over: %v", got)
	}
}

// TestSessionsOfOthers: what somebody else has opened, somebody else closes.
func TestSessionsOfOthers(t *testing.T) {
	m := newMachine(t)
	m.login(iqn, "default", "10.0.0.5:3260")
	s := m.disks()
	m.publish(s, blockVolume("a", "one", 1, nil), "sdeb")
	if err := s.Teardown(t.Context(), "uid-a"); err != nil {
		t.Error(err)
	}
	if got := m.took(); got != "" {
		t.Errorf("somebody else's session: %s", got)
	}
}

// TestLogoutIsTriedAgain: a disk stays on record until its session has ended.
func TestLogoutIsTriedAgain(t *testing.T) {
	m := newMachine(t)
	s := m.disks()
	m.publish(s, blockVolume("a", "one", 1, nil), "sdeb")
	m.fail["iscsiadm -m node -p 10.0.0.5:3260 -T "+iqn+" -I default --logout"] = 4
	err := s.Teardown(t.Context(), "uid-a")
	if err == nil || !strings.Contains(err.Error(), `UnmountDevice failed for volume "one" : failed to finish detachISCSIDisk, err: iscsiadm: exit status 4`) {
		t.Errorf("got %v", err)
	}
	if len(m.leftOver()) != 1 {
		t.Error("the disk is forgotten")
	}
	clear(m.fail)
	if err := m.disks().Teardown(t.Context(), "uid-a"); err != nil || len(m.leftOver()) > 0 {
		t.Errorf("tried again: %v, left over %v", err, m.leftOver())
	}
}

// TestCHAP: credentials go to the records that they are for, from the secret of the right namespace.
func TestCHAP(t *testing.T) {
	m := newMachine(t)
	m.publish(m.disks(), blockVolume("a", "one", 1, func(s *core.ISCSIPersistentVolumeSource) {
		s.DiscoveryCHAPAuth, s.SessionCHAPAuth = true, true
		s.SecretRef = &core.SecretReference{Name: "chap", Namespace: "vault"}
	}), "sdeb")
	var got []string
	for _, c := range m.calls {
		if strings.Contains(c, "auth") {
			got = append(got, strings.Fields(c)[2]+" "+strings.Join(strings.Fields(c)[len(strings.Fields(c))-3:], " "))
		}
	}
	want := []string{
		"discoverydb discovery.sendtargets.auth.authmethod -v CHAP", "discoverydb discovery.sendtargets.auth.username -v you",
		"node node.session.auth.authmethod -v CHAP", "node node.session.auth.username -v me", "node node.session.auth.password -v vault/chap",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestInitiator: another name for the initiator needs an interface of its own, which goes with the disk.
func TestInitiator(t *testing.T) {
	m := newMachine(t)
	m.login(iqn, "default", "10.0.0.5:3260") // is shown other disks, maybe
	s := m.disks()
	m.publish(s, blockVolume("a", "one", 1, func(s *core.ISCSIPersistentVolumeSource) { s.InitiatorName = new("iqn.2001-04.org.example:me") }), "sdfb")
	if err := s.Teardown(t.Context(), "uid-a"); err != nil {
		t.Error(err)
	}
	var got []string
	for _, c := range m.calls {
		if strings.HasPrefix(c, "iscsiadm -m iface") {
			got = append(got, c)
		}
	}
	want := []string{
		"iscsiadm -m iface -I default -o show", "iscsiadm -m iface -I default -o show", "iscsiadm -m iface -I 10.0.0.5:3260:one -o new",
		"iscsiadm -m iface -I 10.0.0.5:3260:one -o update -n iface.initiatorname -v iqn.2001-04.org.example:me",
		"iscsiadm -m iface -I 10.0.0.5:3260:one -o update -n iface.mtu -v 0",
		"iscsiadm -m iface -I 10.0.0.5:3260:one -o update -n iface.transport_name -v tcp",
		"iscsiadm -m iface -I 10.0.0.5:3260:one -o delete",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestPortals: a portal that does not answer is tried again, and the disk is used by the others; a multipath map is used where there is one.
func TestPortals(t *testing.T) {
	m := newMachine(t)
	dead := "iscsiadm -m discoverydb -t sendtargets -p 10.0.0.7:3260 -I default --discover"
	m.fail[dead] = 4
	s := m.disks()
	v := blockVolume("a", "one", 1, func(s *core.ISCSIPersistentVolumeSource) {
		s.Portals = []string{"10.0.0.6:3260", "10.0.0.7", "10.0.0.5:3260"}
	})
	m.publish(s, v, "sdeb")
	tried := 0
	for _, c := range m.calls {
		if c == dead {
			tried++
		}
	}
	if tried != enoughRounds {
		t.Errorf("the portal that does not answer was tried %d times, want %d", tried, enoughRounds)
	}
	m.file("sys/devices/virtual/block/dm-0/dm/uuid", "mpath-36000\n")
	m.link("sys/class/block/dm-0", "sys/devices/virtual/block/dm-0")
	for _, p := range []string{"sdeb", "sdfb"} {
		m.link("sys/class/block/"+p+"/holders/dm-0", "sys/devices/virtual/block/dm-0")
		m.link("sys/devices/virtual/block/dm-0/slaves/"+p, "sys/class/block/"+p)
	}
	m.publish(s, v, "dm-0")
	m.calls = nil
	if err := s.Teardown(t.Context(), "uid-a"); err != nil {
		t.Error(err)
	}
	if m.calls[0] != "multipath -f dm-0" || strings.Count(m.took(), "--logout") != 3 {
		t.Errorf("taken away by %q", m.calls)
	}
}

// TestNothingAnswers: the error is Kubernetes' own, with the fix where it is known.
func TestNothingAnswers(t *testing.T) {
	m := newMachine(t)
	s := m.disks()
	m.fail["iscsiadm -m discoverydb"] = 20
	_, err := s.Publish(t.Context(), blockVolume("a", "one", 1, nil))
	for _, want := range []string{"failed to get any path for iscsi disk, last err seen:\n", "the node's iscsid does not run: start it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	s.command = command
	t.Setenv("PATH", t.TempDir())
	_, err = s.Publish(t.Context(), blockVolume("a", "one", 1, nil))
	if want := "the node has no program iscsiadm: install the package open-iscsi"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	s.command = m.command
	if err := s.Teardown(t.Context(), "uid-a"); err != nil || len(m.leftOver()) > 0 {
		t.Errorf("taken back: %v, left over %v", err, m.leftOver())
	}
}

// TestNames: what would lead elsewhere is refused, before anything is made of it.
func TestNames(t *testing.T) {
	m := newMachine(t)
	for _, change := range []func(*core.ISCSIPersistentVolumeSource){
		func(s *core.ISCSIPersistentVolumeSource) { s.TargetPortal = "../../etc" },
		func(s *core.ISCSIPersistentVolumeSource) { s.ISCSIInterface = "../x" },
		func(s *core.ISCSIPersistentVolumeSource) { s.Portals = []string{"10.0.0.6\nnode.startup = automatic"} },
		func(s *core.ISCSIPersistentVolumeSource) { s.TargetPortal = "-L" },
	} {
		if _, err := m.disks().Publish(t.Context(), blockVolume("a", "one", 1, change)); err == nil || !strings.Contains(err.Error(), "cannot be the name") {
			t.Errorf("got %v", err)
		}
	}
	if got := m.took(); got != "" || len(m.leftOver()) > 0 {
		t.Errorf("made of it: %s", got)
	}
}

// TestInUseElsewhere: a disk that the host uses for something else stays.
func TestInUseElsewhere(t *testing.T) {
	m := newMachine(t)
	s := m.disks()
	m.publish(s, blockVolume("a", "one", 1, nil), "sdeb")
	m.file("sys/class/block/sdeb/sdeb1/dev", "8:1041\n")
	m.file("mountinfo", "22 1 8:1041 / /srv rw - ext4 /dev/sdeb1 rw\n")
	if err := s.Teardown(t.Context(), "uid-a"); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(m.path("sys/class/block/sdeb/device/delete")); err != nil || len(got) > 0 {
		t.Errorf("a disk that is mounted was removed: %q, %v", got, err)
	}
}

// port makes a port of a target that an adapter sees, with one unit.
func (m *machine) port(host, rport int, wwn string, lun int, name string) {
	dev := fmt.Sprintf("sys/devices/pci0/host%d/rport-%d:0-%d", host, host, rport)
	class := dev + fmt.Sprintf("/fc_remote_ports/rport-%d:0-%d", host, rport)
	m.file(class+"/port_name", "0x"+wwn+"\n")
	m.file(class+"/scsi_target_id", fmt.Sprintf("%d\n", rport))
	m.link(class+"/device", dev)
	m.link(fmt.Sprintf("sys/class/fc_remote_ports/rport-%d:0-%d", host, rport), class)
	m.file(fmt.Sprintf("sys/class/fc_host/host%d/port_name", host), "0x1\n")
	m.file(fmt.Sprintf("sys/class/scsi_host/host%d/scan", host), "")
	if name != "" {
		m.device(name, fmt.Sprintf("%s/target%d:0:%d/%d:0:%d:%d", dev, host, rport, host, rport, lun), 10*host+rport)
	}
}

func fcVolume(src core.FCVolumeSource) *Volume {
	mode := core.PersistentVolumeBlock
	pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "far"}}
	pv.Spec.VolumeMode, pv.Spec.FC = &mode, &src
	return &Volume{Pod: pod("a"), PV: pv, Name: "far"}
}

func TestFibreChannel(t *testing.T) {
	m := newMachine(t)
	m.port(1, 0, "50060e801049cfd1", 3, "sdx")
	m.port(1, 1, "50060e801049cfd2", 3, "sdy")
	m.port(2, 0, "50060e801049cfd3", 3, "")
	m.file("sys/class/block/sdx/device/wwid", "naa.600508b400105e21\n")
	m.file("sys/class/block/sdy/device/wwid", "t10.ACME     DISK  one       0001\n")
	s := m.disks()
	for _, c := range []struct {
		src    core.FCVolumeSource
		device string
		scans  []string
	}{
		{core.FCVolumeSource{TargetWWNs: []string{"50060e801049cfd1"}, Lun: new(int32(3))}, "sdx", []string{"host1 0 0 3"}},
		{core.FCVolumeSource{TargetWWNs: []string{"50060E801049CFD2", "50060e801049cfd3"}, Lun: new(int32(3))}, "sdy", []string{"host1 0 1 3", "host2 0 0 3"}},
		{core.FCVolumeSource{WWIDs: []string{"3600508b400105e21"}}, "sdx", []string{"host1 - - -", "host2 - - -"}},
		{core.FCVolumeSource{WWIDs: []string{"ACME DISK one 0001"}}, "sdy", []string{"host1 - - -", "host2 - - -"}},
	} {
		for _, h := range []string{"host1", "host2"} {
			m.file("sys/class/scsi_host/"+h+"/scan", "")
		}
		m.publish(s, fcVolume(c.src), c.device)
		var scans []string
		for _, h := range []string{"host1", "host2"} {
			if b, err := os.ReadFile(m.path("sys/class/scsi_host", h, "scan")); err != nil || len(b) > 0 {
				scans = append(scans, h+" "+string(b))
			}
		}
		if !slices.Equal(scans, c.scans) {
			t.Errorf("%v: scanned %q, want %q", c.src, scans, c.scans)
		}
		if err := s.Teardown(t.Context(), "uid-a"); err != nil || len(m.leftOver()) > 0 {
			t.Errorf("%v taken back: %v, left over %v", c.src, err, m.leftOver())
		}
		if b, err := os.ReadFile(m.path("sys/class/block", c.device, "device/delete")); err != nil || string(b) != "1" {
			t.Errorf("%s stays: %q, %v", c.device, b, err)
		}
		m.file("sys/class/block/"+c.device+"/device/delete", "")
	}
}

func TestFibreChannelNotFound(t *testing.T) {
	m := newMachine(t)
	far := core.FCVolumeSource{TargetWWNs: []string{"50060e801049cfd9"}, Lun: new(int32(3))}
	for i, want := range []string{"no fc disk found: the node has no Fibre Channel adapter", "no fc disk found: no adapter of the node sees a port 50060e801049cfd9"} {
		if i > 0 {
			m.port(1, 0, "50060e801049cfd1", 3, "sdx")
		}
		s := m.disks()
		_, err := s.Publish(t.Context(), fcVolume(far))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if err := s.Teardown(t.Context(), "uid-a"); err != nil || len(m.leftOver()) > 0 {
			t.Errorf("taken back: %v, left over %v", err, m.leftOver())
		}
	}
}

// TestFormats: a disk with partitions is not an empty one.
func TestFormats(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "DEVNAME=/dev/sdb\nTYPE=xfs\n": "xfs", "DEVNAME=/dev/sdb\nPTTYPE=gpt\n": "unknown data, probably partitions",
		"TYPE=ext4\nPTTYPE=dos\n": "unknown data, probably partitions",
	} {
		if got, err := parseFormat(text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := parseFormat("garbage\n"); err == nil {
		t.Error("garbage passes")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"kind":"iscsi","portals":["10.0.0.5:3260"],"iqn":"iqn.2001-04.org.example:a","lun":2,"users":[{"pod":"u","name":"n"}]}`))
	f.Add([]byte(`{"kind":"fc","wwns":["50060e801049cfd1"]}`))
	f.Add([]byte(`{"kind":"../x","wwids":["a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "r.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(path)
		if err != nil {
			return
		}
		if at := r.place("/r"); !strings.HasPrefix(at, "/r/plugins/kubernetes.io/"+r.Kind+"/") {
			t.Errorf("%s is mounted at %s", text, at)
		}
	})
}

func FuzzParseInterface(f *testing.F) {
	f.Add("# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = default\niface.transport_name = tcp\niface.mtu = <empty>\n")
	f.Add("iface.x =")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseInterface(text)
		for k, v := range p {
			if err != nil || !strings.HasPrefix(k, "iface.") || strings.ContainsAny(k+v, " \n") {
				t.Errorf("%q: %q", k, v)
			}
		}
	})
}
