package snapshottest

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"proa.dev/runtime/snapshot"
)

// hostile are layers that try to leave their directory, or make no sense. Each must be an error that names its entry.
func hostile(t *testing.T, open func(*testing.T, string) Snapshotter) {
	root := t.TempDir()
	s := open(t, filepath.Join(root, "store"))
	outside := filepath.Join(root, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := Tree(outside)
	if err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string][]tar.Header{
		"dots":                   {File("../../outside/new")},
		"dots inside":            {File("a/../../../outside/new")},
		"link then write":        {Sym("d", outside), File("d/new")},
		"relative link":          {Sym("d", "../../../../../../../../.."+outside), File("d/new")},
		"link over link":         {Sym("a", "/"), Sym("b", "a"), File("b" + outside + "/new")},
		"link then directory":    {Sym("d", outside), Dir("d/sub")},
		"link then whiteout":     {Sym("d", outside), File("d/.wh.victim")},
		"link then opaque":       {Sym("d", outside), File("d/.wh..wh..opq")},
		"hard link dots":         {Hard("h", "../../outside/victim")},
		"hard link through link": {Sym("d", outside), Hard("h", "d/victim")},
		"hard link absolute":     {Hard("h", outside+"/victim")},
		"hard link to itself":    {Hard("h", "h")},
		"hard link to directory": {Dir("d"), Hard("h", "d")},
		"link loop":              {Sym("a", "b"), Sym("b", "a"), File("a/f")},
		"file as directory":      {File("f"), File("f/g")},
		"root is a file":         {File(".")},
		"root is a link":         {Sym(".", outside)},
		"whiteout of dots":       {File(".wh...")},
		"whiteout of nothing":    {File(".wh.")},
		"link to nothing":        {{Typeflag: tar.TypeSymlink, Name: "s"}},
		"endless name":           {File(strings.Repeat("n", 300))},
		"unknown type":           {{Typeflag: 'Z', Name: "z"}},
	} {
		plain := Tar(t, nil, headers...)
		_, err := s.Unpack(t.Context(), []snapshot.Layer{Layer(plain)})
		if err == nil {
			t.Errorf("%s: was unpacked", name)
		} else if last := headers[len(headers)-1].Name; !strings.Contains(err.Error(), strings.Trim(last, "./")) {
			t.Errorf("%s: error does not name the entry: %v", name, err)
		}
	}
	// Replacing a link by a file is what images do all day, and writes nothing through the link.
	unpack(t, s, Layer(Tar(t, map[int]string{1: "new"}, Sym("victim", outside+"/victim"), File("victim"))))
	unpack(t, s, Layer(Tar(t, nil, Sym("dir", outside), Dir("dir"), File("dir/inside"))))
	// The same from one layer to the next: a link below is followed only as the container itself would follow it.
	below := Layer(Tar(t, nil, Sym("d", outside), Sym("up", "../../../../.."), Sym("root", "/"), Dir("sub"), Sym("sub/back", "..")))
	for name, top := range map[string]tar.Header{
		"write":       File("d/victim"),
		"whiteout":    File("d/.wh.victim"),
		"hard link":   Hard("h", "d/victim"),
		"up":          File("up" + outside + "/victim"),
		"root":        File("root" + outside + "/victim"),
		"up and back": File("sub/back/up" + outside + "/victim"),
	} {
		_, err := s.Unpack(t.Context(), []snapshot.Layer{below, Layer(Tar(t, nil, top))})
		if name == "hard link" && err == nil {
			t.Errorf("%s: was unpacked", name)
		}
	}
	if after, err := Tree(outside); after != before || err != nil {
		t.Errorf("a layer reached out of the store (-before +after):\n%s%v", cmp.Diff(before, after), err)
	}
}
