package oci_test

import (
	"os"
	"testing"

	"proa.dev/runtime/oci"
	"proa.dev/runtime/oci/ocitest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	ocitest.CleanUp()
	os.Exit(code)
}

func TestBuiltin(t *testing.T) {
	ocitest.Run(t, func(t testing.TB, p *ocitest.Pod) oci.Runtime { return oci.NewBuiltin(p.Tree, t.TempDir()) })
}
