package supervise

import (
	"golang.org/x/sys/unix"

	"proa.dev/runtime/keeper/wire"
)

// forkMapped starts what e says in the pod's user namespace, by way of a helper (stage.Enter), with which t talks at first and then with
// what the helper started. c says how the stage would be forked without a user namespace; its files end with the stage's end of t.
func (k *Keeper) forkMapped(c child, t talk, e wire.Enter) (*process, error) {
	if e.Word == wire.EnterExec {
		c.pidNS = -1 // the helper joins it, as one of the target's namespaces
	} else {
		c.files = append(c.files, k.user)
		if e.JoinPID = c.pidNS >= 0; e.JoinPID {
			c.files = append(c.files, c.pidNS)
			c.pidNS = -1
		}
	}
	c.args = []string{"proa-keeper", "enter"}
	c.clone = unix.CLONE_NEWNS // for the mounts that it makes
	defer k.expect()()
	helper, err := k.fork(c)
	if err != nil {
		return nil, err
	}
	if err := wire.WriteFrame(t.file, wire.KindEnter, e.Encode()); err != nil {
		k.kill(helper)
		return nil, wrap("send what to enter", err)
	}
	who, _, err := t.report()
	if err != nil {
		k.kill(helper)
		return nil, err
	}
	return k.claim(int(who.PID)), nil
}

// startPauseMapped is startPause in the pod's user namespace.
func (k *Keeper) startPauseMapped(null int) (*process, error) {
	t, stageFD, err := newTalk()
	if err != nil {
		return nil, err
	}
	defer t.file.Close()
	defer unix.Close(stageFD)
	c := child{files: []int{null, null, null, stageFD}, pidNS: -1, env: stageEnv()}
	return k.forkMapped(c, t, wire.Enter{Word: wire.EnterPause, NewPID: true})
}
