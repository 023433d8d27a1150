package core

import (
	"testing"

	core "k8s.io/api/core/v1"
)

// A claim waits from the moment it exists, whatever status its creator sent.
func TestClaimIsCreatedPending(t *testing.T) {
	k := PersistentVolumeClaim.Kind()
	for _, sent := range []core.PersistentVolumeClaimPhase{"", core.ClaimBound} {
		c := &core.PersistentVolumeClaim{Status: core.PersistentVolumeClaimStatus{Phase: sent}}
		k.Default(c)
		k.Prepare(c, nil)
		if got := c.Status.Phase; got != core.ClaimPending {
			t.Errorf("created with phase %q: got phase %q, want %q", sent, got, core.ClaimPending)
		}
	}
}
