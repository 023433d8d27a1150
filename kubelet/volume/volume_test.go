package volume

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/kit/prom"
	"proa.dev/kit/roottest"
	"proa.dev/kubelet/spec"
	"proa.dev/object"
)

// objects are Sources made of maps.
type objects struct {
	configMaps map[string]*core.ConfigMap
	secrets    map[string]*core.Secret
	claims     map[string]*core.PersistentVolumeClaim
	volumes    map[string]*core.PersistentVolume
	bundles    []*certificates.ClusterTrustBundle
	tokens     int
	alone      bool // nobody tells of changes
	now        time.Time
}

func lookup[P any](m map[string]P, kind, name string) (P, error) {
	o, ok := m[name]
	if !ok {
		return o, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
	}
	return o, nil
}

func (o *objects) ConfigMap(_, name string) (*core.ConfigMap, error) {
	return lookup(o.configMaps, "configmaps", name)
}
func (o *objects) Secret(_, name string) (*core.Secret, error) {
	return lookup(o.secrets, "secrets", name)
}
func (o *objects) Services(string) []*core.Service { return nil }
func (o *objects) Claim(_, name string) (*core.PersistentVolumeClaim, error) {
	return lookup(o.claims, "persistentvolumeclaims", name)
}
func (o *objects) Volume(name string) (*core.PersistentVolume, error) {
	return lookup(o.volumes, "persistentvolumes", name)
}
func (o *objects) Token(_ context.Context, _ *core.Pod, audience string, seconds int64) (string, error) {
	o.tokens++
	body := fmt.Sprintf(`{"iat":%d,"exp":%d,"aud":%q,"n":%d}`, o.now.Unix(), o.now.Unix()+seconds, audience, o.tokens)
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".s", nil
}

func (o *objects) Bundles() ([]*certificates.ClusterTrustBundle, error) {
	if o.alone {
		return nil, errors.New("not known yet")
	}
	return o.bundles, nil
}

func (o *objects) FollowsClaims() bool { return true }

func (o *objects) FollowsFiles() bool { return !o.alone }

func (o *objects) Tell(_ context.Context, claim *core.PersistentVolumeClaim, change func(*core.PersistentVolumeClaim) bool) error {
	c := object.Clone(claim)
	if change(c) {
		o.claims[c.Name] = c
	}
	return nil
}

func setup(t *testing.T) (*Volumes, *objects) {
	src := &objects{configMaps: map[string]*core.ConfigMap{}, secrets: map[string]*core.Secret{}, claims: map[string]*core.PersistentVolumeClaim{},
		volumes: map[string]*core.PersistentVolume{}, now: time.Unix(1_800_000_000, 0)}
	root := t.TempDir()
	v, err := New(Deps{Node: &spec.Node{Root: root, Name: "n1"}, Sources: src, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountBeneath(root); err != nil {
			t.Error(err)
		}
	})
	return v, src
}

func podWith(vols ...core.Volume) *core.Pod {
	p := &core.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "uid-1", Labels: map[string]string{"a": "b"}}}
	p.Spec.Volumes = vols
	for _, vol := range vols {
		p.Spec.Containers = append(p.Spec.Containers, core.Container{Name: "c-" + vol.Name, VolumeMounts: []core.VolumeMount{{Name: vol.Name, MountPath: "/v"}}})
	}
	return p
}

func (v *Volumes) mustSync(t *testing.T, p *core.Pod, now time.Time) time.Time {
	t.Helper()
	renew, err := v.Sync(context.Background(), p, now)
	if err != nil {
		t.Fatal(err)
	}
	return renew
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Where nobody tells of changes, objects are read again.
func TestFilesAreReadAgain(t *testing.T) {
	v, src := setup(t)
	src.configMaps["cm"] = &core.ConfigMap{Data: map[string]string{"a": "1"}}
	yes := true
	vol := func(name string, s core.VolumeSource) core.Volume { return core.Volume{Name: name, VolumeSource: s} }
	p := podWith(
		vol("cm", core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{LocalObjectReference: core.LocalObjectReference{Name: "cm"}}}),
		vol("later", core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "later", Optional: &yes}}),
		vol("down", core.VolumeSource{DownwardAPI: &core.DownwardAPIVolumeSource{}}),
	)
	if renew := v.mustSync(t, p, src.now); !renew.IsZero() {
		t.Errorf("told of changes, and yet due at %v", renew)
	}
	src.alone = true
	if renew := v.mustSync(t, p, src.now); renew != src.now.Add(rereadFiles) {
		t.Errorf("due at %v, want %v", renew, src.now.Add(rereadFiles))
	}
	p.Spec.Volumes = p.Spec.Volumes[2:]
	if renew := v.mustSync(t, p, src.now); !renew.IsZero() {
		t.Errorf("no object, and yet due at %v", renew)
	}
}

func TestFilesFollowTheirObject(t *testing.T) {
	v, src := setup(t)
	mode := int32(0o400)
	src.configMaps["cm"] = &core.ConfigMap{Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {0, 255}}}
	vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{
		LocalObjectReference: core.LocalObjectReference{Name: "cm"},
		Items:                []core.KeyToPath{{Key: "a", Path: "deep/er/a", Mode: &mode}, {Key: "b", Path: "b"}, {Key: "bin", Path: "bin"}},
	}}}
	p := podWith(vol)
	v.mustSync(t, p, src.now)
	dir, _, err := v.Path(p, &vol)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir+"/deep/er/a") + read(t, dir+"/b") + read(t, dir+"/bin"); got != "12\x00\xff" {
		t.Errorf("%q", got)
	}
	info, err := os.Stat(dir + "/deep/er/a")
	if err != nil || info.Mode() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(dir + "/b"); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	before, err := os.Readlink(dir + "/..data")
	if err != nil {
		t.Fatal(err)
	}
	v.mustSync(t, p, src.now.Add(time.Second))
	if after, _ := os.Readlink(dir + "/..data"); after != before {
		t.Error("nothing changed, and yet it was written")
	}
	open, err := os.Open(dir + "/b")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	src.configMaps["cm"] = &core.ConfigMap{Data: map[string]string{"a": "1", "b": "3"}, BinaryData: map[string][]byte{"bin": {0, 255}}}
	v.mustSync(t, p, src.now.Add(2*time.Second))
	if got := read(t, dir+"/b"); got != "3" {
		t.Errorf("after the change: %q", got)
	}
	buf := make([]byte, 1)
	if _, err := open.Read(buf); err != nil || string(buf) != "2" {
		t.Errorf("who had it open reads %q, %v", buf, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 { // ..data, one directory, three names
		t.Errorf("%v, %v", entries, err)
	}
}

func TestMissingObjects(t *testing.T) {
	v, src := setup(t)
	yes := true
	secret := func(optional *bool, items ...core.KeyToPath) core.Volume {
		return core.Volume{Name: "v", VolumeSource: core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "s", Optional: optional, Items: items}}}
	}
	_, err := v.Sync(context.Background(), podWith(secret(nil)), src.now)
	if err == nil || err.Error() != `MountVolume.SetUp failed for volume "v" : secrets "s" not found` {
		t.Errorf("%v", err)
	}
	v.mustSync(t, podWith(secret(&yes)), src.now)
	src.secrets["s"] = &core.Secret{Data: map[string][]byte{"k": []byte("v")}}
	_, err = v.Sync(context.Background(), podWith(secret(nil, core.KeyToPath{Key: "none", Path: "x"})), src.now)
	if err == nil || !strings.HasSuffix(err.Error(), "references non-existent secret key: none") {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"../x", "/x", "..x", "a/../../x"} {
		_, err = v.Sync(context.Background(), podWith(secret(nil, core.KeyToPath{Key: "k", Path: bad})), src.now)
		if err == nil {
			t.Errorf("path %q was written", bad)
		}
	}
}

func TestToken(t *testing.T) {
	v, src := setup(t)
	hour := int64(3600)
	vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
		{ServiceAccountToken: &core.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour, Audience: "vault"}},
		{DownwardAPI: &core.DownwardAPIProjection{Items: []core.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &core.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
	}}}}
	p := podWith(vol)
	renew := v.mustSync(t, p, src.now)
	if want := src.now.Add(48 * time.Minute); !renew.Equal(want) {
		t.Errorf("renewed at %v, want %v", renew, want)
	}
	dir, _, err := v.Path(p, &vol)
	if err != nil {
		t.Fatal(err)
	}
	first := read(t, dir+"/token")
	if got := read(t, dir+"/labels"); got != `a="b"` {
		t.Errorf("labels %q", got)
	}
	v.mustSync(t, p, src.now.Add(47*time.Minute))
	if got := read(t, dir+"/token"); got != first || src.tokens != 1 {
		t.Errorf("a young token was replaced (%d asked for)", src.tokens)
	}
	src.now = src.now.Add(48 * time.Minute)
	v.mustSync(t, p, src.now)
	if got := read(t, dir+"/token"); got == first || src.tokens != 2 {
		t.Errorf("an old token was kept (%d asked for)", src.tokens)
	}
}

func TestGroupOwnsFiles(t *testing.T) {
	roottest.Need(t, "gives files to a group")
	v, src := setup(t)
	gid, mode := int64(1001), int32(0o400)
	src.secrets["s"] = &core.Secret{Data: map[string][]byte{"k": []byte("v")}}
	files := core.Volume{Name: "s", VolumeSource: core.VolumeSource{Secret: &core.SecretVolumeSource{SecretName: "s", DefaultMode: &mode}}}
	empty := core.Volume{Name: "e", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}
	p := podWith(files, empty)
	p.Spec.SecurityContext = &core.PodSecurityContext{FSGroup: &gid}
	v.mustSync(t, p, src.now)
	check := func(path string, want os.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode() != want || st.Gid != 1001 {
			t.Errorf("%s: mode %v of group %d, want %v", path, info.Mode(), st.Gid, want)
		}
	}
	dir, _, _ := v.Path(p, &files)
	check(dir+"/k", 0o440)
	dir, _, _ = v.Path(p, &empty)
	check(dir, 0o777|os.ModeDir|os.ModeSetgid)
}

func TestEmptyDirInMemory(t *testing.T) {
	roottest.Need(t, "mounts tmpfs")
	v, src := setup(t)
	limit := resource.MustParse("1Mi")
	vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{Medium: core.StorageMediumMemory, SizeLimit: &limit}}}
	p := podWith(vol)
	v.mustSync(t, p, src.now)
	v.mustSync(t, p, src.now)
	dir, _, _ := v.Path(p, &vol)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || int64(fs.Blocks)*fs.Bsize != 1<<20 {
		t.Errorf("type %x, %d bytes, %v", fs.Type, int64(fs.Blocks)*fs.Bsize, err)
	}
	err := os.WriteFile(dir+"/big", make([]byte, 2<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("2 MiB in 1 MiB: %v", err)
	}
	if err := v.Teardown(context.Background(), p.UID, true); err != nil {
		t.Fatal(err)
	}
	if left, err := mountsBeneath(v.Node.PodDir(p.UID)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestTrustBundles(t *testing.T) {
	v, src := setup(t)
	anchor := func(n byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{n}}))
	}
	signer, name, yes := "example.com/s", "one", true
	bundle := func(name, color, text string) *certificates.ClusterTrustBundle {
		return &certificates.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"color": color}}, Spec: certificates.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text},
		}
	}
	src.bundles = []*certificates.ClusterTrustBundle{bundle("one", "red", anchor(1)+"between\n"+anchor(2)), bundle("two", "red", anchor(2)+anchor(3)), bundle("three", "blue", anchor(4))}
	of := func(color string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"color": color}}
	}
	missing := "none"
	for _, c := range []struct {
		what string
		src  core.ClusterTrustBundleProjection
		want string // the certificates, by number
		err  string
	}{
		{"by name", core.ClusterTrustBundleProjection{Name: &name}, "1 2", ""},
		{"by labels", core.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: of("red")}, "1 2 3", ""},
		{"all of a signer", core.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{}}, "1 2 3 4", ""},
		{"no selector", core.ClusterTrustBundleProjection{SignerName: &signer}, "", "combination of signerName and labelSelector matched zero ClusterTrustBundles"},
		{"none by labels", core.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: of("green"), Optional: &yes}, "", ""},
		{"none by name", core.ClusterTrustBundleProjection{Name: &missing, Optional: &yes}, "", ""},
		{"missing", core.ClusterTrustBundleProjection{Name: &missing}, "", `clustertrustbundle.certificates.k8s.io "none" not found`},
	} {
		c.src.Path = "ca.pem"
		vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{{ClusterTrustBundle: &c.src}}}}}
		pod := podWith(vol)
		_, err := v.Sync(context.Background(), pod, src.now)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.what, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		dir, _, err := v.Path(pod, &pod.Spec.Volumes[0])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for rest := []byte(read(t, filepath.Join(dir, "ca.pem"))); len(rest) > 0; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				t.Fatalf("%s: no PEM: %q", c.what, rest)
			}
			got = append(got, fmt.Sprint(b.Bytes[0]))
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, c.want)
		}
	}
	src.alone = true
	_, err := v.Sync(context.Background(), podWith(core.Volume{Name: "w", VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{
		{ClusterTrustBundle: &core.ClusterTrustBundleProjection{Name: &name, Path: "ca.pem", Optional: &yes}},
	}}}}), src.now)
	if err == nil || !strings.Contains(err.Error(), "not known yet") {
		t.Errorf("before the bundles are known: %v", err)
	}
}

func TestHostPath(t *testing.T) {
	v, src := setup(t)
	dir := t.TempDir()
	try := func(path string, kind core.HostPathType) error {
		vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: path, Type: &kind}}}
		_, err := v.Sync(context.Background(), podWith(vol), src.now)
		return err
	}
	for _, c := range []struct {
		path string
		kind core.HostPathType
		ok   bool
	}{
		{"/made/deep", core.HostPathDirectoryOrCreate, true}, {"/made/deep", core.HostPathDirectory, true}, {"/made/file", core.HostPathFileOrCreate, true},
		{"/made/file", core.HostPathFile, true}, {"/made/file", core.HostPathDirectory, false}, {"/none", core.HostPathDirectory, false},
		{"/none", core.HostPathUnset, true}, {"/made/file", core.HostPathSocket, false}, {"/made/file", core.HostPathBlockDev, false},
	} {
		if err := try(dir+c.path, c.kind); (err == nil) != c.ok {
			t.Errorf("%s as %s: %v", c.path, c.kind, err)
		}
	}
	if info, err := os.Stat(dir + "/none"); err != nil || !info.IsDir() {
		t.Errorf("without a type nothing was made: %v", err)
	}
	if err := try("/dev/null", core.HostPathCharDev); err != nil {
		t.Error(err)
	}
}

func TestClaim(t *testing.T) {
	v, src := setup(t)
	dir := t.TempDir()
	vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}
	p := podWith(vol)
	expect := func(want string) {
		t.Helper()
		_, err := v.Sync(context.Background(), p, src.now)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	const unprocessed = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: "
	expect(unprocessed + `error processing PVC ns/c: failed to fetch PVC from API server: persistentvolumeclaims "c" not found`)
	src.claims["c"] = &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "cu"}}
	expect("PVC is not bound")
	src.claims["c"].Spec.VolumeName, src.claims["c"].Status.Phase = "pv", core.ClaimBound
	expect(`persistentvolumes "pv" not found`)
	pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	pv.Spec.Local = &core.LocalVolumeSource{Path: dir}
	src.volumes["pv"] = pv
	expect("found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim")
	pv.Spec.ClaimRef = &core.ObjectReference{UID: "other"}
	expect("found PV object pv but its pv.Spec.ClaimRef.UID other does not point to claim.UID cu")
	pv.Spec.ClaimRef = &core.ObjectReference{UID: "cu"}
	expect("")
	pv.Spec.VolumeMode = new(core.PersistentVolumeBlock)
	expect(unprocessed + "volume v has volumeMode Block, but is specified in volumeMounts")
	pv.Spec.VolumeMode = nil
	p.Spec.Containers[0].VolumeDevices = []core.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}
	expect(unprocessed + "volume v has volumeMode Filesystem, but is specified in volumeDevices")
	p.Spec.Containers[0].VolumeDevices = nil
	src.claims["c"].DeletionTimestamp = new(metav1.Now())
	expect(unprocessed + "error processing PVC ns/c: PVC is being deleted")
	src.claims["c"].Finalizers = []string{"kubernetes.io/pvc-protection"}
	expect("")
	if path, _, err := v.Path(p, &vol); err != nil || path != dir {
		t.Errorf("%s, %v", path, err)
	}
	pv.Spec.Local = nil
	pv.Spec.FC = &core.FCVolumeSource{}
	expect("fc: no fc disk information found. failed to make a new mounter")
}

// What no container uses is not made, and may even be missing.
func TestUnusedVolumes(t *testing.T) {
	v, src := setup(t)
	p := podWith(core.Volume{Name: "dir", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}},
		core.Volume{Name: "none", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{LocalObjectReference: core.LocalObjectReference{Name: "none"}}}},
		core.Volume{Name: "spare", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}})
	p.Spec.Containers = p.Spec.Containers[:1]
	made := func(want ...string) {
		t.Helper()
		if _, err := v.Sync(context.Background(), p, src.now); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Dir(v.dir(p.UID, "empty-dir", "x")))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			t.Errorf("there are %v, want %v", got, want)
		}
	}
	made("dir")
	p.Spec.EphemeralContainers = []core.EphemeralContainer{{EphemeralContainerCommon: core.EphemeralContainerCommon{VolumeMounts: []core.VolumeMount{{Name: "spare", MountPath: "/s"}}}}}
	made("dir", "spare")
}

// TestHostileSubPaths has a container's owner prepare its volume so that a subPath would lead out of it.
func TestHostileSubPaths(t *testing.T) {
	roottest.Need(t, "binds mounts")
	v, src := setup(t)
	vol := core.Volume{Name: "v", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}}
	p := podWith(vol)
	v.mustSync(t, p, src.now)
	dir, _, _ := v.Path(p, &vol)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"absolute": filepath.Dir(secret), "up": "../../../../../../..", "file": secret, "proc": "/proc/self/root", "chain": "up/tmp", "loop": "loop", "inside": "real",
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	mount := func(sub string) (string, error) {
		c := &core.Container{Name: "c", VolumeMounts: []core.VolumeMount{{Name: "v", MountPath: "/x", SubPath: sub}}}
		m, err := v.Mounts(p, c, nil, false)
		if err != nil {
			return "", err
		}
		return m[0].HostPath, nil
	}
	for _, sub := range []string{"absolute", "absolute/secret", "up", "up/etc", "file", "proc", "proc/etc", "chain", "loop", "loop/x", "absolute/new/dir", "../x", "a/../../x", "/etc"} {
		if path, err := mount(sub); err == nil {
			t.Errorf("subPath %q gave %s", sub, path)
		} else if strings.Contains(err.Error(), dir) {
			t.Errorf("subPath %q: the error tells of the node: %v", sub, err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(secret), "new")); !os.IsNotExist(err) {
		t.Error("a directory was made outside of the volume")
	}
	for _, sub := range []string{"inside", "new/deep/dir", "real"} {
		path, err := mount(sub)
		if err != nil {
			t.Errorf("subPath %q: %v", sub, err)
			continue
		}
		if !isMountPoint(path) {
			t.Errorf("subPath %q: %s is no mount", sub, path)
		}
		if err := os.WriteFile(filepath.Join(path, "f"), []byte(sub), 0o644); err != nil {
			t.Error(err)
		}
	}
	if got := read(t, filepath.Join(dir, "new/deep/dir/f")); got != "new/deep/dir" {
		t.Errorf("%q", got)
	}
	info, err := os.Stat(filepath.Join(dir, "new"))
	if err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("a directory that was made has mode %v, that of the volume is 0777", info.Mode())
	}
	if err := v.Teardown(context.Background(), p.UID, true); err != nil {
		t.Fatal(err)
	}
	if got := read(t, secret); got != "host" {
		t.Error("the node's file is gone")
	}
}

func TestSubPathExpr(t *testing.T) {
	env := []spec.Var{{Name: "POD", Value: "p"}, {Name: "ABS", Value: "/x"}}
	for expr, want := range map[string]string{"$(POD)/a": "p/a", "$(NONE)": "", "$(ABS)": "", "a/$(POD)": "a/p"} {
		got, err := subPath(&core.VolumeMount{SubPathExpr: expr}, env)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", expr, got, err)
		}
	}
}

func TestTeardownKeepsToItsPod(t *testing.T) {
	v, _ := setup(t)
	for _, uid := range []string{"", "..", "../x", "a/b"} {
		if err := v.Teardown(context.Background(), types.UID(uid), true); err == nil {
			t.Errorf("uid %q was taken", uid)
		}
	}
	if err := v.Teardown(context.Background(), "unknown", true); err != nil {
		t.Error(err)
	}
}

func TestShare(t *testing.T) {
	roottest.Need(t, "mounts")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "a b")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if made, err := share(sub); err != nil || made != want {
			t.Errorf("%d: %v, %v", i, made, err)
		}
	}
	if point, shared, err := mountOf(sub); err != nil || point != dir || !shared {
		t.Errorf("%s, %v, %v", point, shared, err)
	}
}

func TestTypesThatNobodyMounts(t *testing.T) {
	v, _ := setup(t)
	for want, src := range map[string]core.VolumeSource{
		"CSI driver ebs.csi.aws.com":    {AWSElasticBlockStore: &core.AWSElasticBlockStoreVolumeSource{}},
		"flexVolumes are not supported": {FlexVolume: &core.FlexVolumeSource{}},
	} {
		_, err := v.Sync(t.Context(), podWith(core.Volume{Name: "v", VolumeSource: src}), time.Now())
		if err == nil || !strings.Contains(err.Error(), "no volume plugin matched") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestDisksOfNetworks: errors say which step failed, as Kubernetes names it, and what the node lacks; a pod that got nothing goes.
func TestDisksOfNetworks(t *testing.T) {
	v, src := setup(t)
	t.Setenv("PATH", t.TempDir())
	disk := core.ISCSIVolumeSource{TargetPortal: "127.0.0.1", IQN: "iqn.2001-04.org.example:a", ISCSIInterface: "default"}
	src.claims["c"] = &core.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{UID: "cu"}}
	src.claims["c"].Spec.VolumeName, src.claims["c"].Status.Phase = "pv", core.ClaimBound
	pv := &core.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	pv.Spec.ClaimRef, pv.Spec.VolumeMode = &core.ObjectReference{UID: "cu"}, new(core.PersistentVolumeBlock)
	pv.Spec.ISCSI = &core.ISCSIPersistentVolumeSource{TargetPortal: disk.TargetPortal, IQN: disk.IQN, ISCSIInterface: "default", Lun: 1}
	src.volumes["pv"] = pv
	claim := &core.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: true}
	p := podWith(core.Volume{Name: "a", VolumeSource: core.VolumeSource{ISCSI: &disk}}, core.Volume{Name: "b", VolumeSource: core.VolumeSource{PersistentVolumeClaim: claim}})
	p.Spec.Containers[1].VolumeMounts, p.Spec.Containers[1].VolumeDevices = nil, []core.VolumeDevice{{Name: "b", DevicePath: "/dev/b"}}
	_, err := v.Sync(t.Context(), p, time.Now())
	for _, want := range []string{
		`MountVolume.WaitForAttach failed for volume "a" : the node has no program iscsiadm: install the package open-iscsi`,
		`MapVolume.WaitForAttach failed for volume "pv" : the node has no program iscsiadm`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("not the errors of two volumes: %v", err)
	}
	for i, want := range []string{"FailedMount", "FailedMapVolume"} {
		if e, ok := errors.AsType[*Error](joined.Unwrap()[i]); !ok || e.Reason() != want {
			t.Errorf("reason of %v, want %s", e, want)
		}
	}
	for i, want := range []string{"volumes/kubernetes.io~iscsi/a", "volumeDevices/kubernetes.io~iscsi/pv"} {
		path, readOnly, err := v.Path(p, &p.Spec.Volumes[i])
		if err != nil || path != filepath.Join(v.Node.PodDir(p.UID), want) || readOnly != (i == 1) {
			t.Errorf("%s, read only %v, %v", path, readOnly, err)
		}
	}
	if err := v.Teardown(t.Context(), p.UID, true); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(v.Node.Root, "plugins", "kubernetes.io", "luns")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestSizeOfHugePages(t *testing.T) {
	asks := func(sizes ...string) *core.Pod {
		p := podWith()
		for _, s := range sizes {
			r := core.ResourceList{core.ResourceName(core.ResourceHugePagesPrefix + s): resource.MustParse(s)}
			p.Spec.Containers = append(p.Spec.Containers, core.Container{Resources: core.ResourceRequirements{Requests: r}})
		}
		return p
	}
	for _, c := range []struct {
		pod    *core.Pod
		medium core.StorageMedium
		want   string // "" is an error
	}{
		{asks("2Mi"), core.StorageMediumHugePages, "2Mi"},
		{asks("2Mi", "2Mi"), core.StorageMediumHugePages, "2Mi"},
		{asks("2Mi", "1Gi"), core.StorageMediumHugePages, ""},
		{asks(), core.StorageMediumHugePages, ""},
		{asks("2Mi", "1Gi"), core.StorageMediumHugePagesPrefix + "1Gi", "1Gi"},
		{asks(), core.StorageMediumHugePagesPrefix + "x", ""},
	} {
		got, err := hugePageSize(c.pod, c.medium)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%s: %v, %v, want %q", c.medium, got, err, c.want)
		}
	}
}

// What is made and taken away is counted by its plugin.
func TestOperationsAreCounted(t *testing.T) {
	v, src := setup(t)
	src.configMaps["c"] = &core.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"k": "v"}}
	p := podWith(core.Volume{Name: "dir", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}},
		core.Volume{Name: "c", VolumeSource: core.VolumeSource{ConfigMap: &core.ConfigMapVolumeSource{LocalObjectReference: core.LocalObjectReference{Name: "c"}}}},
		core.Volume{Name: "host", VolumeSource: core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: "/nowhere", Type: new(core.HostPathDirectory)}}},
		core.Volume{Name: "claim", VolumeSource: core.VolumeSource{PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: "none"}}})
	p.Spec.SecurityContext = &core.PodSecurityContext{FSGroup: new(int64(os.Getgid()))}
	for range 2 {
		if _, err := v.Sync(t.Context(), p, src.now); err == nil {
			t.Fatal("a directory that is not there was found")
		}
	}
	shows := func(lines ...string) {
		t.Helper()
		var page prom.Page
		v.Page(&page)
		var got []string
		for line := range strings.Lines(page.String()) {
			if strings.Contains(line, "_count{") || strings.HasPrefix(line, "volume_manager_") {
				got = append(got, strings.TrimSpace(strings.ReplaceAll(line, "kubernetes.io/", "")))
			}
		}
		if !slices.Equal(got, lines) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
		}
	}
	const each, whole = "storage_operation_duration_seconds_count", "volume_operation_total_seconds_count"
	made := []string{
		each + `{volume_plugin="configmap",operation_name="volume_apply_access_control",status="success",migrated="false"} 1`,
		each + `{volume_plugin="configmap",operation_name="volume_mount",status="success",migrated="false"} 2`,
		each + `{volume_plugin="empty-dir",operation_name="volume_apply_access_control",status="success",migrated="false"} 1`,
		each + `{volume_plugin="empty-dir",operation_name="volume_mount",status="success",migrated="false"} 1`,
		each + `{volume_plugin="host-path",operation_name="volume_mount",status="fail-unknown",migrated="false"} 2`,
		whole + `{plugin_name="configmap",operation_name="overall_volume_mount"} 2`,
		whole + `{plugin_name="empty-dir",operation_name="overall_volume_mount"} 1`,
	}
	shows(append(slices.Clone(made),
		`volume_manager_total_volumes{plugin_name="configmap",state="actual_state_of_world"} 1`,
		`volume_manager_total_volumes{plugin_name="configmap",state="desired_state_of_world"} 1`,
		`volume_manager_total_volumes{plugin_name="empty-dir",state="actual_state_of_world"} 1`,
		`volume_manager_total_volumes{plugin_name="empty-dir",state="desired_state_of_world"} 1`,
		`volume_manager_total_volumes{plugin_name="host-path",state="desired_state_of_world"} 1`)...)
	for range 2 {
		if err := v.Teardown(t.Context(), p.UID, true); err != nil {
			t.Fatal(err)
		}
	}
	made = slices.Insert(made, 4, each+`{volume_plugin="empty-dir",operation_name="volume_unmount",status="success",migrated="false"} 1`)
	shows(slices.Insert(made, 2, each+`{volume_plugin="configmap",operation_name="volume_unmount",status="success",migrated="false"} 1`)...)
}
