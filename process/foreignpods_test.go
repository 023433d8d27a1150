package process

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestMaking has sandboxes of a pod made while what is left of it is removed, and the other way round.
func TestMaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaking()
		m.begin("a")
		m.begin("a")
		m.end("a")
		if err := m.unless("a", func() error { return errors.New("removed") }); err != nil {
			t.Errorf("while a sandbox is on its way: %v", err)
		}
		m.end("a")
		begun := make(chan struct{})
		err := m.unless("a", func() error {
			m.begin("b") // others do not wait
			go func() { m.begin("a"); close(begun) }()
			synctest.Wait()
			select {
			case <-begun:
				return errors.New("a sandbox was begun meanwhile")
			default:
				return errors.New("removed")
			}
		})
		if err == nil || err.Error() != "removed" {
			t.Error(err)
		}
		<-begun
		m.end("a")
		m.end("b")
		if len(m.count) != 0 {
			t.Errorf("left: %v", m.count)
		}
	})
}
